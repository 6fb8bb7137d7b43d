#!/usr/bin/python3
"""Keeps connections alive when the floating IP moves: the two servers pass on each other's.

Who holds the address gets every packet to it. Those of a connection that it does not know go into a
VXLAN to the other server, whose answers come back the same way and leave from the holder, so the
network sees the address where it is. Both do the same; which of them holds the address is seen from
where packets come, so both may be up before the move, and a move back needs nothing.

Nothing is forwarded: `dup` sends a copy (nft(8), "DUP STATEMENT") and the packet itself is dropped.
So forwarding may be off, Docker's rules are not asked, and conntrack of other connections cannot
notice. All of it is one link, one table in nftables and one routing rule for each family; nothing
is stored, so a reboot ends it.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from . import arrival, state

Address = IPv4Address | IPv6Address

LINK: Final = "bh-tunnel"
TABLE: Final = "bakehouse_tunnel"
PORT: Final = 4789
"""UDP port of VXLAN (RFC 7348); we use its number for the network id and the routing, too."""

FIND: Final = "found"  # in the place of the address where a translated floating IP arrives
MARK: Final = "0x04000000"
"""Packets of blue's that go into the tunnel; one bit, above those that Docker uses."""

PRIORITY: Final = -160
"""After conntrack (-200), before our firewall (-150) and Docker's rewriting (-100)."""

MAC: Final = ("02:ba:4e:00:00:01", "02:ba:4e:00:00:02")
NEAR: Final = {4: ("169.254.88.1", "169.254.88.2"), 6: ("fe80::ba4e:1", "fe80::ba4e:2")}
"""Inside the tunnel, of the server with the lower address and of the other one."""

HEADERS: Final = {4: 50, 6: 70}
"""Bytes that VXLAN adds: Ethernet 14, VXLAN 8, UDP 8, and IPv4 20 or IPv6 40 (RFC 7348)."""

_ERRORS: Final = "destination-unreachable, time-exceeded, parameter-problem"
FAMILY: Final = {
    4: {"family": "ip", "type": "ipv4_addr", "errors": f"icmp type {{ {_ERRORS} }}"},
    6: {
        "family": "ip6",
        "type": "ipv6_addr",
        "errors": f"icmpv6 type {{ packet-too-big, {_ERRORS} }}",
    },
}

RULES: Final = """
table {family} {table} {{
  counter to_peer {{ }}
  counter to_clients {{ }}
  counter from_clients {{ }}
  counter answers {{ }}
  counter refused {{ }}
  set floating {{ type {type}; elements = {{ {floating} }} }}
  # Those that are at the other server; where the last packet came from tells.
  set moved {{ type {type}; size 16; flags dynamic; }}

  chain prerouting {{
    type filter hook prerouting priority {priority}; policy accept;
    iifname "{link}" goto from_peer
    iifname {outer} {family} daddr @floating ct state {{ new, invalid }} jump unknown
    iifname {outer} {family} daddr @moved ct state established delete @moved {{ {family} daddr }}
    # The answers of containers, whose address is still their own here.
    ct direction reply ct original {family} daddr @moved fib daddr oifname {outer} \
      counter name answers meta mark set meta mark | {mark}
  }}
  chain unknown {{
    tcp flags & syn == 0 goto to_peer
    {errors} goto to_peer
  }}
  chain to_peer {{
    counter name to_peer dup to {near} device "{link}"
    drop
  }}
  chain from_peer {{
    {family} saddr @floating counter name to_clients dup to {family} daddr drop
    {family} daddr != @floating drop
    ct state established,related add @moved {{ {family} daddr }} counter name from_clients accept
    # Known to neither of us: the client learns it at once, by the server that has the address.
    ct state new meta l4proto tcp ct mark set ct mark | {mark} \
      counter name refused reject with tcp reset
    counter name refused drop
  }}
  chain output {{
    type route hook output priority {priority}; policy accept;
    {family} saddr @moved oifname {outer} counter name answers meta mark set meta mark | {mark}
    {family} saddr @floating ct mark & {mark} == {mark} oifname {outer} \
      meta mark set meta mark | {mark}
  }}
}}
"""


@dataclass(frozen=True)
class Way:
    """How this server reaches an address: from where, by which interface, MTU in bytes."""

    source: str
    device: str
    mtu: int


def rules(peer_side: int, floating: Sequence[Address], outer: Sequence[str], here: str = "") -> str:
    """The nftables script, which replaces what there is in one step.

    `peer_side` is 0 when the peer has the lower address, else 1; `outer` are the interfaces by
    which the world comes in; `here` is where the IPv4 one arrives when the cloud translates it.
    """
    names = ", ".join(f'"{name}"' for name in outer)
    text = ""
    for version, words in FAMILY.items():
        text += fresh(words["family"])
        own = [str(address) for address in floating if address.version == version]
        if own:
            translated = partial(arrival.rules, here)
            text += (translated if here and version == 4 else partial(RULES.format, **words))(
                table=TABLE,
                link=LINK,
                mark=MARK,
                priority=PRIORITY,
                outer=f"{{ {names} }}",
                floating=", ".join(own),
                near=NEAR[version][peer_side],
            )
    return text


def fresh(family: str) -> str:
    """The script that removes our table, whether it is there or not."""
    return f"table {family} {TABLE}\ndelete table {family} {TABLE}\n"


def link_commands(peer_side: int, peer: Address, path: Way, outer_mtu: int) -> list[list[str]]:
    """Make the tunnel's interface. `outer_mtu` is that of the interface to the world, in bytes.

    What clients send was cut to fit that one. Between IPv4 addresses the packets around it may be
    cut in two, so nothing depends on ICMP that reaches the client.
    """
    mtu = outer_mtu if peer.version == 4 else path.mtu - HEADERS[6]
    vxlan = ["type", "vxlan", "id", str(PORT), "dstport", str(PORT), "nolearning", "ttl", "64"]
    ends = ["local", path.source, "remote", str(peer)]
    own = MAC[1 - peer_side]
    return [
        ["link", "add", LINK, "address", own, "mtu", str(mtu), *vxlan, *ends],
        ["link", "set", LINK, "addrgenmode", "none"],
        ["link", "set", LINK, "up"],
    ]


def route_commands(
    peer_side: int, peer: Address, path: Way, versions: Sequence[int]
) -> list[list[str]]:
    """The way to the peer's end, and what is marked goes there, cut to fit.

    The packets around a marked one carry its mark, too (the kernel keeps it when a tunnel wraps):
    `throw` leads those to the peer past our table.
    """
    table = ["table", str(PORT)]
    mtu = ["mtu", str(path.mtu - HEADERS[peer.version])]
    commands = [[f"-{peer.version}", "route", "replace", "throw", str(peer), *table]]
    # On an interface without an IPv4 address even the loose filter drops whatever comes from
    # beyond the link (net/ipv4/fib_frontend.c, __fib_validate_source).
    commands.append(["-4", "address", "replace", f"{NEAR[4][1 - peer_side]}/32", "dev", LINK])
    for version in versions:
        ip, near = f"-{version}", NEAR[version][peer_side]
        hardware = ["lladdr", MAC[peer_side], "nud", "permanent"]
        commands += [
            [ip, "neigh", "replace", near, "dev", LINK, *hardware],
            [ip, "route", "replace", near, "dev", LINK],
            [ip, "route", "replace", "default", "via", near, "dev", LINK, "onlink", *mtu, *table],
            [ip, "rule", "add", "priority", str(PORT), "fwmark", f"{MARK}/{MARK}", *table],
        ]
    return commands


def up(peer: Address, floating: Sequence[Address], here: str = "") -> None:
    """Bring the tunnel to this peer up; what is up already stays, one to another is replaced.

    `here` is where a translated one arrives. Raises ProgramError when there is no way to the peer,
    or the kernel lacks what it takes.
    """
    addresses = sorted(set(floating), key=lambda address: (address.version, address))
    wanted = " ".join(map(str, [peer, *addresses])) + (f" > {here}" if here else "")
    if alias() == wanted:
        return
    arrival.refuse_strict_filter()
    path, outer = way(peer), outer_interfaces()
    peer_side = int(peer.packed > ip_address(path.source).packed)
    down()
    for words in link_commands(peer_side, peer, path, max(outer.values())):
        ip(*words)
    versions = sorted({address.version for address in addresses})
    for words in route_commands(peer_side, peer, path, versions):
        ip(*words)
    nft(f"add element inet bakehouse peers{peer.version} {{ {peer} }}")
    nft(rules(peer_side, addresses, sorted(outer), here))
    ip("link", "set", LINK, "alias", wanted)  # last: what lacks it was not finished


def moved() -> None:
    """The floating IP is at the other server: answers go there before any packet comes from there,
    which matters when only a server speaks. Raises ProgramError when the tunnel is not up."""
    _, floating = present()
    here = (alias() or "").partition(" > ")[2]
    if here:
        floating = [ip_address(here)] if arrival.is_anchor(here) else []
    for address in floating:
        family = FAMILY[address.version]["family"]
        nft(f"add element {family} {TABLE} moved {{ {address} }}")


def down() -> None:
    """Take all of it away; connections that need it are refused from now on."""
    for version, words in FAMILY.items():
        nft(fresh(words["family"]) + f"flush set inet bakehouse peers{version}")
        for _ in ip_json(f"-{version}", "rule", "show", "priority", str(PORT)):
            ip(f"-{version}", "rule", "delete", "priority", str(PORT))
        # Not by `flush`: a table without routes does not exist, which would be an error.
        for route in ip_json(f"-{version}", "route", "show", "table", "all", "type", "throw"):
            if route["table"] == str(PORT):
                ip(f"-{version}", "route", "delete", "throw", route["dst"], "table", str(PORT))
    if alias() is not None:
        ip("link", "delete", LINK)  # the other routes and the neighbours go with it


def status() -> dict[str, Any]:
    """`up`; then peer, floating addresses, which are at the peer, packets and bytes so far."""
    if not alias():
        return {"up": False}
    peer, floating = present()
    away: list[str] = []
    counters: dict[str, dict[str, int]] = {}
    for version in sorted({address.version for address in floating}):
        shown = _run(["nft", "--json", "list", "table", FAMILY[version]["family"], TABLE])
        for item in json.loads(shown)["nftables"]:
            if "counter" in item:
                found = item["counter"]
                sums = counters.setdefault(found["name"], {"packets": 0, "bytes": 0})
                for key in sums:
                    sums[key] += found[key]
            elif "set" in item and item["set"]["name"] == "moved":
                away += map(str, item["set"].get("elem", []))
    return {
        "up": True,
        "peer": str(peer),
        "floating": [str(address) for address in floating],
        "moved": away,
        "counters": counters,
    }


def present() -> tuple[Address, list[Address]]:
    """The peer and the floating addresses. Raises ProgramError when the tunnel is not up."""
    found = alias()
    if not found:
        raise state.ProgramError("the tunnel is not up; bring it up with: bakehouse.tunnel up")
    peer, *floating = map(ip_address, found.partition(" > ")[0].split())
    return peer, floating


def way(peer: Address) -> Way:
    """How the peer is reached. Raises ProgramError when it is not."""
    found = ip_json(f"-{peer.version}", "route", "get", str(peer))[0]
    device = found["dev"]
    if device == "lo":
        raise state.ProgramError(f"{peer} is an address of this server; name the other one's")
    mtu = ip_json("link", "show", "dev", device)[0]["mtu"]
    return Way(found["prefsrc"], device, int(mtu))


def outer_interfaces() -> dict[str, int]:
    """The interfaces of the default routes, with their MTU in bytes."""
    found = [route for v in ("-4", "-6") for route in ip_json(v, "route", "show", "default")]
    names = sorted({route["dev"] for route in found if "dev" in route})
    if not names:
        raise state.ProgramError("this server has no default route; look at: networkctl")
    return {name: int(ip_json("link", "show", "dev", name)[0]["mtu"]) for name in names}


def alias() -> str | None:
    """What `up` wrote on the interface when it was done: "" before that, None without it."""
    done = subprocess.run(
        ["ip", "-json", "link", "show", "dev", LINK], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return None
    return str(json.loads(done.stdout)[0].get("ifalias", ""))


def ip(*words: str) -> str:
    """Run iproute2's `ip`. Raises ProgramError with what it says."""
    return _run(["ip", *words])


def ip_json(*words: str) -> list[dict[str, Any]]:
    """What `ip` shows, as data."""
    return list(json.loads(ip("-json", *words) or "[]"))


def nft(script: str) -> None:
    """Run an nftables script as one transaction. Raises ProgramError with what is wrong."""
    _run(["nft", "--file", "-"], script)


def _run(command: list[str], stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise state.ProgramError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout}")
    return done.stdout


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bakehouse.tunnel")
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("up", help="bring it up, on both servers, before the IP moves")
    making.add_argument("--peer", required=True, type=ip_address, help="the other's own address")
    making.add_argument("--floating", required=True, type=ip_address, nargs="+", help="what moves")
    making.add_argument(
        "--translated", nargs="?", const=FIND, default="", help="it arrives at this own address"
    )
    verbs.add_parser("moved", help="the floating IP is at the other server now")
    verbs.add_parser("down", help="take it away")
    verbs.add_parser("status", help="print what there is as JSON")
    asked = parser.parse_args()
    match asked.verb:
        case "up":
            here = arrival.here() if asked.translated == FIND else asked.translated
            up(asked.peer, asked.floating, here)
        case "moved":
            moved()
        case "down":
            down()
        case _:
            print(json.dumps(status()))


if __name__ == "__main__":
    state.run_program(main)
