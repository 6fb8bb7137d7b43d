"""What a machine is compared with follows from the plan."""

from __future__ import annotations

import json

from images.expectations import expectations, timers, units
from images.verify import Failure, Report
from specs.model import App, Borg, Caddy, Database, Docker, Postgres, Rule, Site, Spec, Ssh, User
from specs.needs import needed
from specs.plan import Payload, Plan, resolve

BARE = Spec(name="bare")
WHOLE = Spec(
    name="whole",
    users=(User("ada", ("ssh-ed25519 AAAA ada",), sudo=True, groups=("docker",)), User("bob")),
    ssh=Ssh(port=2222, kex="compat"),
    postgres=Postgres(databases=(Database("shop", "keeper", ("citext",)),)),
    docker=Docker(),
    apps=(
        App("shop", archive="shop.tar", replicas=2, port=80, database="shop", secrets=("key",)),
        App("queue", archive="queue.tar", kind="worker"),
    ),
    caddy=Caddy(sites=(Site("shop.example", app="shop"), Site("http://old", redirect="https://x"))),
    borg=Borg("/backup"),
)


def plan_of(spec: Spec) -> Plan:
    payloads = tuple(Payload(f"app/{app.name}", "0" * 64, "/x") for app in spec.apps)
    return resolve(spec, None, payloads)


def test_a_bare_server_has_no_services() -> None:
    found = expectations(plan_of(BARE), {})
    assert found["ports"] == {"tcp": [22], "udp": []}
    assert (found["postgres"], found["apps"], found["sites"], found["timers"]) == (None, [], [], [])
    assert found["sshd"]["permitrootlogin"] == "prohibit-password"
    assert "caddy.service" not in found["units"]


def test_every_section_has_its_units() -> None:
    image = plan_of(WHOLE).image
    assert {
        "bakehouse-cluster.service",
        "postgresql@17-main.service",
        "pgbouncer.service",
        "docker.service",
        "bakehouse-app@shop.service",
        "bakehouse-app@queue.service",
        "caddy.service",
    } <= set(units(image))
    assert timers(image) == ["bakehouse-backup.timer", "bakehouse-backup-check.timer"]


def test_ssh_people_and_ports() -> None:
    found = expectations(plan_of(WHOLE), {})
    assert (found["admin"], found["sshd"]["port"], found["kex_compat"]) == ("ada", "2222", True)
    assert found["sshd"]["permitrootlogin"] == "no"
    assert found["ports"]["tcp"] == [80, 443, 2222]
    ada, bob = found["people"]
    assert (ada["groups"], ada["sudo"], bob["sudo"]) == (["ada", "docker"], True, False)
    assert bob["uid"] == ada["uid"] + 1


def test_a_port_for_some_networks_is_not_open_to_all() -> None:
    spec = Spec(name="x", firewall=type(WHOLE.firewall)((Rule(9100, sources=("10.0.0.0/8",)),)))
    found = expectations(plan_of(spec), {})
    assert (found["ports"]["tcp"], found["restricted"]) == ([22], [9100])


def test_apps_and_sites() -> None:
    found = expectations(plan_of(WHOLE), {"key": "v"})
    shop, queue = found["apps"]
    assert shop["ports"] == [20000, 20001]
    assert queue["ports"] == []
    assert [site["https"] for site in found["sites"]] == [True, False]
    assert json.loads(json.dumps(found)) == found


def test_secrets_of_apps_and_backups() -> None:
    assert list(needed(plan_of(WHOLE).image)) == ["borg_passphrase", "key"]


def test_a_report_without_tests_has_not_passed() -> None:
    empty = Report("id", "", "nspawn", "", 1.0, 0, (), {})
    assert not empty.passed


def test_a_report_names_what_failed() -> None:
    report = Report("id", "", "nspawn", "", 1.0, 5, (Failure("t.py::test_x", "a\nb"),), {})
    assert not report.passed
    assert report.summary() == "nspawn: 5 tests, 1 failed, 1.0 s\n  t.py::test_x: a / b"
    assert json.loads(report.as_json())["passed"] is False
