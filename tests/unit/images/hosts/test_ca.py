"""By which names servers are certified and trusted, and what is revoked."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from images.hosts.ca import (
    HostCa,
    client_names,
    known_hosts_line,
    principals,
    revoke,
    revoked_path,
    sign_command,
)
from images.hosts.certificates import Certificate
from images.hosts.keys import trust
from images.providers.base import FloatingIp, Server
from images.ssh import Door
from specs.errors import UsageError
from specs.model import Caddy, Site, Spec, System

SITES = Caddy(
    sites=(
        Site("shop.example.org", aliases=("www.example.org",), app="shop"),
        Site("http://shop.example.org", redirect="https://shop.example.org"),
        Site(":80", app="shop"),
    )
)
SPEC = Spec("web", system=System(hostname="db.example.org"), caddy=SITES)
SERVER = Server("1", "web-g3-e7", "running", {}, "198.51.100.11", "", "10.0.0.1")
IP = FloatingIp("web", "203.0.113.10", "2001:db8:f::10", "1")
CA = HostCa("private", "ssh-ed25519 AAAA web-host-ca")


def test_a_server_goes_by_all_of_its_names() -> None:
    assert principals(SPEC, SERVER, IP) == (
        *("web-g3-e7", "198.51.100.11", "10.0.0.1", "203.0.113.10", "2001:db8:f::10"),
        *("db.example.org", "shop.example.org", "www.example.org"),
    )
    assert principals(Spec("web"), SERVER, None) == ("web-g3-e7", "198.51.100.11", "10.0.0.1")


def test_the_ca_is_believed_for_the_spec_alone() -> None:
    hosts = client_names(SPEC, IP, [SERVER])
    assert hosts[:4] == ["web-g*", "db.example.org", "shop.example.org", "www.example.org"]
    assert {"203.0.113.10", "2001:db8:f::10", "198.51.100.11", "10.0.0.1"} <= {*hosts}
    assert "*" not in hosts


def test_one_line_trusts_all() -> None:
    assert known_hosts_line(CA, ["a", "b"]) == "@cert-authority a,b ssh-ed25519 AAAA web-host-ca"
    assert known_hosts_line(CA, ["a"], 2222).split()[1] == "[a]:2222"


def test_the_ca_key_is_no_word_of_the_command() -> None:
    words = sign_command(Path("/t/host.pub"), "web-g3-e7", ["a", "b"], 12, 3600)
    assert words[words.index("-s") + 1] == "/dev/stdin"
    assert words[-6:] == ["a,b", "-z", "12", "-V", "-300s:+3600s", "/t/host.pub"]


def test_revoked_servers_stand_beside_the_spec(tmp_path: Path) -> None:
    spec_file = tmp_path / "web.yaml"
    assert revoke(spec_file, "web-g1-e1")
    assert revoke(spec_file, "web-g2-e2")
    assert not revoke(spec_file, "web-g1-e1")
    with pytest.raises(UsageError, match="no name of a server"):
        revoke(spec_file, "web-g1-e1\nserial: 1")
    assert revoked_path(spec_file).read_text() == "id: web-g1-e1\nid: web-g2-e2\n"


def test_a_door_trusts_what_it_is_told_to(tmp_path: Path) -> None:
    trust(Door(tmp_path / "ssh_config"), "ssh-ed25519 AAAA comment", "ssh-ed25519 BBBB")
    known = (tmp_path / "known_hosts").read_text()
    assert known == "machine ssh-ed25519 AAAA\nmachine ssh-ed25519 BBBB\n"


def test_a_certificate_says_when_it_should_be_renewed() -> None:
    now = datetime(2026, 5, 1, 12, 0)
    assert "has none; run with --renew" in Certificate("a").line(now)
    ends = [timedelta(days=60), timedelta(days=3), timedelta(hours=-1)]
    lines = [Certificate("a", 5, ("x",), now + left).line(now) for left in ends]
    assert "--renew" not in lines[0]
    assert "3 days; run with --renew" in lines[1]
    assert "EXPIRED" in lines[2]
