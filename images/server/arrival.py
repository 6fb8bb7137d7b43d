"""Where packets to a floating IP arrive on this server, when its cloud translates the address.

Such a cloud gives each server packets to an address of its own: an anchor address, or the public
one. So a connection has another end on blue than on green, and what clients send is known by the
floating IP in the tunnel: rewritten on the way in, and before conntrack on the way out, without any
state (nft(8), "PAYLOAD EXPRESSION"; the kernel mends the checksums). Answers are rewritten by the
server that lets them out: their sender's kernel must still know them when they are too long.

The public address is reached directly, too, so whether answers take the tunnel is decided for each
connection, by two bits of its conntrack mark: its last packet came from the peer, or directly. One
that has not spoken since the floating IP moved counts as one to it where the address is an anchor.
Elsewhere it must wait until its client speaks: such a cloud learns of a connection by what comes
in, and what it lets out before reaches the client as another's, who breaks it off.
"""

import json
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from . import state

INSTANCE: Final = Path("/run/cloud-init/instance-data.json")
"""What cloud-init learnt from the cloud (its documentation, "Instance metadata")."""

AWAY: Final = "0x04000000"
DIRECT: Final = "0x08000000"
"""Bits of a connection's mark: its last packet came from the peer; it came directly."""

RULES: Final = """
table ip {table} {{
  counter to_peer {{ }}
  counter to_clients {{ }}
  counter from_clients {{ }}
  counter answers {{ }}
  counter refused {{ }}
  # Here when the floating IP was said to be at the other server.
  set moved {{ type ipv4_addr; size 16; flags dynamic; }}

  chain arriving {{
    type filter hook prerouting priority -310; policy accept;
    iifname "{link}" ip daddr {floating} ip daddr set {here}
  }}
  chain prerouting {{
    type filter hook prerouting priority {priority}; policy accept;
    iifname "{link}" goto from_peer
    iifname {outer} ip daddr {here} ct state {{ new, invalid }} jump unknown
    iifname {outer} ip daddr {here} ct mark & {away} == {away} \
      ct mark set ct mark & {not_away} | {direct}
    iifname {outer} ip daddr @moved ct state {{ new, established }} ct mark set ct mark | {direct}
    # The answers of containers, whose address is still their own here.
    ct direction reply ct original ip daddr {here} fib daddr oifname {outer} jump answers
  }}
  chain unknown {{
    tcp flags & syn == 0 goto to_peer
  }}
  chain to_peer {{
    counter name to_peer ip daddr set {floating} dup to {near} device "{link}"
    drop
  }}
  chain from_peer {{
    ip daddr != {here} counter name to_clients ip saddr set {here} dup to ip daddr drop
    {spread}
    ct mark set ct mark & {not_direct} | {away}
    ct state established,related counter name from_clients accept
    # Known to neither of us: the client learns it at once.
    ct state new meta l4proto tcp counter name refused reject with tcp reset
    counter name refused drop
  }}
  chain answers {{
    ct mark & {away} == {away} counter name answers meta mark set meta mark | {mark} return
    ct mark & {direct} == 0 ct original ip daddr @moved \
      counter name answers meta mark set meta mark | {mark}
  }}
  chain output {{
    type route hook output priority {priority}; policy accept;
    ip saddr {here} oifname {outer} jump answers
  }}
}}
"""


def rules(here: str, **words: Any) -> str:
    """The nftables script for a translated IPv4 address, which arrives at `here`."""
    known = "ct state established,related add @moved { ip daddr }"
    spread = known if is_anchor(here) else ""
    bits = {"away": AWAY, "direct": DIRECT}
    nots = {f"not_{name}": f"{0xFFFFFFFF ^ int(bit, 16):#010x}" for name, bit in bits.items()}
    return RULES.format(here=here, spread=spread, **bits, **nots, **words)


def is_anchor(here: str) -> bool:
    """Whether an address is an anchor, which nobody reaches directly (RFC 1918)."""
    return ip_address(here) in ip_network("10.0.0.0/8")


def here(instance: Path = INSTANCE) -> str:
    """The address of this server at which the floating IP arrives: its anchor address where the
    cloud gave it one, else the one by which it reaches the world.

    Raises ProgramError when there is neither: packets to the floating IP would be missed.
    """
    try:
        told = json.loads(instance.read_text(encoding="utf-8"))
        public = told["ds"]["meta_data"]["interfaces"]["public"][0]
        return str(public["anchor_ipv4"]["ip_address"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    command = ["ip", "-json", "-4", "route", "get", "1.1.1.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    address = str(found[0].get("prefsrc", "")) if found else ""
    if not address:
        raise state.ProgramError(
            "this server has no anchor address and no route to the world, so it is not known where"
            " the floating IP arrives: give it by --translated ADDRESS"
        )
    return address


def refuse_strict_filter() -> None:
    """The stricter of `all` and the interface's own value counts (kernel, ip-sysctl)."""
    if Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text().strip() == "1":
        raise state.ProgramError(
            "net.ipv4.conf.all.rp_filter is 1, so what comes from a tunnel would be dropped;"
            " set it to 2 in the spec's system.sysctl"
        )
