"""The lab's network as commands and documents."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network

from images.network import CLIENT4, CLIENT6, Address, create_commands, inside, network_config


def test_every_command_stays_in_the_namespace() -> None:
    """Nothing touches the devices, routes or addresses of this machine itself."""
    first, *others = create_commands("bh-1")
    assert first == ["ip", "netns", "add", "bh-1"]
    assert all(command[:3] == ["ip", "-netns", "bh-1"] for command in others)


def test_a_command_enters_only_the_network_namespace() -> None:
    assert inside("bh-1", ["curl", "x"]) == ["nsenter", "--net=/run/netns/bh-1", "--", "curl", "x"]


def test_addresses_are_for_documentation_and_apart() -> None:
    addresses = [Address(number) for number in (1, 2, 200)]
    assert all(ip_address(a.v4) in ip_network("198.51.100.0/24") for a in addresses)
    assert all(ip_address(a.v6) in ip_network("2001:db8::/32") for a in addresses)
    assert len({a.v4 for a in addresses} | {CLIENT4}) == 4
    assert len({a.v6 for a in addresses} | {CLIENT6}) == 4


def test_network_config_is_static_in_both_families() -> None:
    config = json.loads(network_config(Address(1), "host0"))
    interface = config["ethernets"]["host0"]
    assert config["version"] == 2
    assert interface["addresses"] == ["198.51.100.11/24", "2001:db8:ba4e::11/64"]
    assert (interface["dhcp4"], interface["dhcp6"]) == (False, False)
    assert [route["via"] for route in interface["routes"]] == [CLIENT4, CLIENT6]
    assert "match" not in interface


def test_network_config_finds_a_card_by_its_number() -> None:
    config = json.loads(network_config(Address(2), "public", "52:54:00:00:00:01"))
    assert config["ethernets"]["public"]["match"] == {"macaddress": "52:54:00:00:00:01"}
