"""What the tunnel between two servers is made of; the integration test sends packets through it."""

from ipaddress import ip_address

import pytest

from images.server import tunnel
from images.server.tunnel import Way

V4, V6 = ip_address("192.0.2.6"), ip_address("2001:db8::6")


def words(commands: list[list[str]], *wanted: str) -> list[str]:
    """The one command that has all of these words."""
    found = [command for command in commands if set(wanted) <= set(command)]
    assert len(found) == 1, commands
    return found[0]


def after(command: list[str], word: str) -> str:
    return command[command.index(word) + 1]


@pytest.mark.parametrize(("mtu", "outer"), [(1500, 1500), (1450, 1500)])
def test_uploads_are_cut_around_answers_are_cut_within(mtu: int, outer: int) -> None:
    """Clients cut what they send for the outer interface; our own kernel cuts what it sends."""
    way = Way("192.0.2.2", "eth1", mtu)
    made = words(tunnel.link_commands(1, V4, way, outer), "add")
    assert after(made, "mtu") == str(outer)
    default = words(tunnel.route_commands(1, V4, way, (4,)), "default")
    assert after(default, "mtu") == str(mtu - 50)


def test_between_ipv6_addresses_nothing_is_cut_around() -> None:
    way = Way("2001:db8::2", "eth0", 1500)
    assert after(words(tunnel.link_commands(1, V6, way, 1500), "add"), "mtu") == "1430"
    assert after(words(tunnel.route_commands(1, V6, way, (6,)), "default"), "mtu") == "1430"


def test_the_two_ends_name_each_other() -> None:
    way = Way("192.0.2.2", "eth0", 1500)
    for side in (0, 1):
        own = after(words(tunnel.link_commands(side, V4, way, 1500), "add"), "address")
        other = after(words(tunnel.route_commands(1 - side, V4, way, (4,)), "neigh"), "lladdr")
        assert own == other


def test_the_packets_around_a_marked_one_do_not_loop() -> None:
    way = Way("192.0.2.2", "eth0", 1500)
    commands = tunnel.route_commands(1, V4, way, (4, 6))
    thrown = words(commands, "throw")
    assert thrown[-3:] == [str(V4), "table", str(tunnel.PORT)]
    rules = [command for command in commands if "rule" in command]
    assert commands.index(thrown) < min(commands.index(rule) for rule in rules)


def test_only_families_that_move_have_rules() -> None:
    text = tunnel.rules(1, [ip_address("203.0.113.7")], ["eth0"])
    assert "table ip bakehouse_tunnel {" in text
    assert "table ip6 bakehouse_tunnel {" not in text
    assert "delete table ip6 bakehouse_tunnel" in text


@pytest.mark.parametrize("here", ["", "10.19.0.5"])
def test_only_packets_of_known_connections_say_that_the_address_moved(here: str) -> None:
    floating = [ip_address("203.0.113.7"), ip_address("2001:db8:f::7")]
    lines = tunnel.rules(1, floating, ["eth0"], here).splitlines()
    adding = [line.strip() for line in lines if "add @moved" in line]
    assert len(adding) == 2
    assert all(line.startswith("ct state established,related add @moved") for line in adding)
