"""Which ports are open, and in which order packets are judged."""

from __future__ import annotations

import re
from dataclasses import replace

from cloudinit import firewall
from images.server import tunnel
from specs import layout
from specs.model import Caddy, Data, Firewall
from specs.plan import ImagePlan


def rules(plan: ImagePlan) -> str:
    return firewall.part(plan).files[0].content


def chain(plan: ImagePlan, name: str) -> list[str]:
    found = re.search(rf"^  chain {name} {{\n(.*?)^  }}", rules(plan), re.MULTILINE | re.DOTALL)
    assert found
    return [line.strip() for line in found[1].splitlines()]


def test_open_ports_are_what_the_sections_need(plan: ImagePlan) -> None:
    assert firewall.open_ports(plan) == {
        ("tcp", 22),
        ("tcp", 80),
        ("tcp", 443),
        ("tcp", 8022),
        ("udp", 51820),
    }


def test_a_server_of_nothing_opens_ssh_only(plan: ImagePlan) -> None:
    bare = replace(plan, caddy=Caddy(), apps=(), docker=None, firewall=Firewall())
    assert firewall.open_ports(bare) == {("tcp", 22)}
    assert chain(bare, "public") == []
    assert "from_containers" not in rules(bare)


def test_sources_are_split_by_family(plan: ImagePlan) -> None:
    outside = chain(plan, "from_outside")
    assert "ip saddr { 10.1.0.0/16 } tcp dport 9100 accept" in outside
    assert "ip6 saddr { fd00::/8 } tcp dport 9100 accept" in outside
    assert not any("9100" in line for line in chain(plan, "public"))


def test_the_tunnel_is_open_to_the_peer_alone(plan: ImagePlan) -> None:
    """The sets are empty but for a promote; `bakehouse.tunnel` fills and empties them."""
    found = [line for line in rules(plan).splitlines() if str(layout.TUNNEL_PORT) in line]
    assert [line.strip() for line in found] == [
        "ip saddr @peers4 udp dport 4789 accept",
        "ip6 saddr @peers6 udp dport 4789 accept",
    ]
    assert tunnel.PORT == layout.TUNNEL_PORT


def test_the_peers_account_goes_where_the_peer_is_and_nowhere_else(plan: ImagePlan) -> None:
    """The sets are empty until its unit starts."""
    pair = replace(plan, data=Data(strategy="replica"))
    assert chain(pair, "from_peer") == [
        "ip daddr 127.0.0.1 tcp dport { 20000 } accept",
        "ip daddr . tcp dport @peer_ssh4 accept",
        "ip6 daddr . tcp dport @peer_ssh6 accept",
        "counter reject",
    ]
    for version in (4, 6):
        assert f"set peer_ssh{version} {{ type ipv{version}_addr . inet_service; }}" in rules(pair)


def test_the_judgement_falls_before_docker_rewrites(plan: ImagePlan) -> None:
    head = next(line for line in chain(plan, "prerouting") if line.startswith("type filter"))
    priority = re.search(r"priority (-\d+); policy drop;", head)
    assert priority
    assert int(priority[1]) < -100


def test_containers_never_reach_the_metadata(plan: ImagePlan) -> None:
    """Whatever else they may reach: port 80 is open to them on other addresses."""
    assert chain(plan, "from_containers").index("ip daddr 169.254.0.0/16 counter reject") < (
        chain(plan, "from_containers").index("jump public")
    )


def test_containers_never_reach_the_other_server_of_a_swap(plan: ImagePlan) -> None:
    rules = chain(plan, "from_containers")
    for line in ("ip daddr @peers4 counter reject", "ip6 daddr @peers6 counter reject"):
        assert rules.index(line) < rules.index("jump public")


def test_an_apps_connections_to_the_pooler_are_counted_once(plan: ImagePlan) -> None:
    """Before all containers' rules, which judge in two places."""
    before = chain(plan, "prerouting")
    (counting,) = (number for number, line in enumerate(before) if "ct count over 250 }" in line)
    assert counting < before.index('iifname { "docker0", "br-*" } goto from_containers')
    assert rules(plan).count("ct count") == 1
    assert "ct count" not in rules(replace(plan, postgres=None))


def test_people_without_sudo_reach_no_inner_port(plan: ImagePlan) -> None:
    (rule,) = [line for line in chain(plan, "people") if "reject" in line]
    wanted = "127.0.0.1 . 20000, 10.88.88.1 . 6432"
    assert rule == f"meta skuid {{ 1001 }} ip daddr . tcp dport {{ {wanted} }} counter reject"
    pair = chain(replace(plan, data=Data(strategy="replica")), "people")[1]
    assert "127.0.0.1 . 19999, 127.0.0.1 . 20000, 127.0.0.1 . 30000," in pair
    trusted = replace(plan, users=plan.users[:1])
    assert "chain people" not in rules(trusted)


def test_containers_have_no_ssh(plan: ImagePlan) -> None:
    assert not any(" 22 " in line for line in chain(plan, "from_containers"))
    assert not any(re.search(r"\b22\b", line) for line in chain(plan, "public"))


def test_only_our_own_table_is_replaced(plan: ImagePlan) -> None:
    assert "flush" not in rules(plan)
    assert re.findall(r"delete (.*)", rules(plan)) == ["table inet bakehouse"]
