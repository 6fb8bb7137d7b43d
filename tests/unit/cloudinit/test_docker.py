"""dockerd's settings and units."""

from __future__ import annotations

import json
from ipaddress import IPv4Network

import pytest

from cloudinit import docker
from cloudinit.part import Part
from specs.model import Docker, Spec
from specs.plan import ImagePlan, resolve


def test_nothing_without_docker() -> None:
    assert docker.part(resolve(Spec(name="bare"), None, ()).image) == Part()


def test_daemon_follows_the_spec() -> None:
    found = json.loads(docker.daemon_json(Docker(log_size="5m", log_files=2, subnet="10.9.0.0/16")))
    assert found["log-opts"] == {"max-file": "2", "max-size": "5m"}
    assert found["default-address-pools"] == [{"base": "10.9.0.0/16", "size": 24}]
    assert found["bip"] == "10.9.0.1/24"


def test_daemon_is_closed_by_default() -> None:
    found = json.loads(docker.daemon_json(Docker()))
    assert found["ip"] == "127.0.0.1"
    assert found["no-new-privileges"] is True
    assert found["icc"] is False
    assert found["userland-proxy"] is False
    assert found["features"] == {"containerd-snapshotter": True}


def test_networks_are_cut_one_after_another() -> None:
    assert docker.network(Docker(subnet="10.9.0.0/16"), 0) == IPv4Network("10.9.0.0/24")
    assert docker.network(Docker(subnet="10.9.0.0/16"), 255) == IPv4Network("10.9.255.0/24")
    with pytest.raises(IndexError, match="has no /24 with number 256"):
        docker.network(Docker(subnet="10.9.0.0/16"), 256)


def test_no_unit_waits_for_the_network(plan: ImagePlan) -> None:
    units = [file for file in docker.part(plan).files if file.path.endswith(".service")]
    assert len(units) == 2
    for unit in units:
        lines = [line for line in unit.content.splitlines() if not line.startswith("#")]
        assert "network-online.target" not in "\n".join(lines)
