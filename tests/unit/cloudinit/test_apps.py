"""Compose files and units of apps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cloudinit import apps
from cloudinit.part import Part
from specs.model import App, Build, Docker, Publish, Spec
from specs.plan import ImagePlan, Payload, resolve


def planned(*declared: App) -> ImagePlan:
    payloads = tuple(
        Payload(f"app/{app.name}", "c" * 64, "/usr/lib/bakehouse/images") for app in declared
    )
    return resolve(Spec(name="x", docker=Docker(), apps=declared), None, payloads).image


def project(app: App, *before: App) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(apps.compose_yaml(planned(*before, app), index=len(before)))
    return found


BUILT = App("shop", build=Build(("python3",), "shop"), command=("run", "$HOME"), port=8000)
FETCHED = App("blog", image=f"example.org/blog@sha256:{'0' * 64}", port=2368)


def test_nothing_without_apps() -> None:
    assert apps.part(resolve(Spec(name="bare"), None, ()).image) == Part()


def test_each_replica_is_a_service_with_its_own_port() -> None:
    services = project(replace(BUILT, replicas=3), FETCHED)["services"]
    assert {name: service["ports"] for name, service in services.items()} == {
        "shop-1": ["127.0.0.1:20020:8000"],
        "shop-2": ["127.0.0.1:20021:8000"],
        "shop-3": ["127.0.0.1:20022:8000"],
    }
    assert {service["image"] for service in services.values()} == {
        "bakehouse.local/shop:cccccccccccc"
    }


def test_compose_knows_an_apps_name_and_none_of_its_secrets() -> None:
    app = replace(BUILT, secret_environment={"KEY": "stripe-key"}, environment={"A": "b"})
    service = project(app)["services"]["shop-1"]
    assert service["runtime"] == "bakehouse"
    assert service["environment"] == {"A": "b", "BAKEHOUSE_APP": "shop"}
    assert "stripe-key" not in json.dumps(service)
    assert "runtime" not in project(BUILT)["services"]["shop-1"]


def test_docker_neither_pulls_nor_restarts() -> None:
    service = project(BUILT)["services"]["shop-1"]
    assert service["pull_policy"] == "never"
    assert service["restart"] == "no"
    assert service["labels"] == {"bakehouse.app": "shop"}


def test_compose_puts_no_variable_into_a_volume_or_a_command() -> None:
    app = replace(FETCHED, volumes={"files": "/srv/$HOME"}, command=("run", "${HOME}"))
    service = project(app)["services"]["blog-1"]
    assert service["volumes"][0]["target"] == "/srv/$$HOME"
    assert service["command"] == ["run", "$${HOME}"]


def test_a_built_app_has_no_rights_and_brings_its_command() -> None:
    service = project(BUILT)["services"]["shop-1"]
    assert service["user"] == "65532:65532"
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "command" not in service


def test_an_image_that_changes_its_user_itself_may_do_so() -> None:
    service = project(FETCHED)["services"]["blog-1"]
    assert "user" not in service
    assert service["cap_add"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    assert "cap_add" not in project(replace(FETCHED, user="1000"))["services"]["blog-1"]


def test_values_reach_the_container_as_written() -> None:
    app = replace(FETCHED, command=("echo", "$HOME ${X}"), environment={"A": "1$B$$"})
    service = project(app)["services"]["blog-1"]
    assert service["command"] == ["echo", "$$HOME $${X}"]
    assert service["environment"] == {"A": "1$$B$$$$"}


def test_volumes_are_folders_of_the_data_and_secrets_memory() -> None:
    app = replace(BUILT, volumes={"b": "/srv/b", "a": "/srv/a"}, secrets=("key",))
    mounts = project(app)["services"]["shop-1"]["volumes"]
    assert [(m["type"], m["source"], m["target"], m["read_only"]) for m in mounts] == [
        ("bind", "/data/apps/shop/a", "/srv/a", False),
        ("bind", "/data/apps/shop/b", "/srv/b", False),
        ("bind", "/run/bakehouse/apps/shop/secrets", "/run/secrets", True),
    ]
    assert not any(mount["bind"]["create_host_path"] for mount in mounts)


def test_no_volume_is_dockers() -> None:
    """An app that stops takes those with it (`images/server/apps.py`)."""
    found = project(App("shop", image="x:1", volumes={"a": "/srv/a"}))
    assert "volumes" not in found
    mounts = [mount for service in found["services"].values() for mount in service["volumes"]]
    assert {mount["type"] for mount in mounts} == {"bind"}


@pytest.mark.parametrize(("volumes", "port", "tells"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_only_answers_that_a_swap_holds_back_are_sent_again_soon(
    volumes: int, port: int, tells: bool
) -> None:
    app = replace(BUILT, volumes={"b": "/srv/b"} if volumes else {}, port=port and 8000)
    assert ("sysctls" in project(app)["services"]["shop-1"]) is tells


def test_database_memory_and_read_only() -> None:
    service = project(replace(BUILT, database="shop", memory="64m", read_only=True))["services"][
        "shop-1"
    ]
    assert service["env_file"] == ["/run/bakehouse/apps/shop.env"]
    assert service["mem_limit"] == service["memswap_limit"] == "64m"
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp:mode=1777,size=256m"]


def test_published_ports_belong_to_the_first_replica() -> None:
    app = replace(BUILT, port=0, replicas=2, publish=(Publish(53, 5353, "udp"), Publish(53, 53)))
    services = project(app)["services"]
    assert services["shop-1"]["ports"] == ["0.0.0.0:53:5353/udp", "0.0.0.0:53:53/tcp"]
    assert services["shop-2"]["ports"] == []


def test_each_app_has_its_own_network() -> None:
    networks = [project(BUILT)["networks"], project(BUILT, FETCHED)["networks"]]
    subnets = [found["default"]["ipam"]["config"][0]["subnet"] for found in networks]
    assert subnets == ["172.30.1.0/24", "172.30.2.0/24"]
    names = [
        found["default"]["driver_opts"]["com.docker.network.bridge.name"] for found in networks
    ]
    assert names == ["br-app0", "br-app1"]


@pytest.mark.parametrize(("kind", "gated"), [("web", False), ("worker", True)])
def test_a_worker_has_a_gate(kind: Any, gated: bool) -> None:
    part = apps.part(planned(replace(BUILT, kind=kind)))
    paths = [file.path for file in part.files]
    gate = "/etc/systemd/system/bakehouse-app@shop.service.d/worker.conf"
    assert (gate in paths) is gated
    assert part.enable == ("bakehouse-app@shop.service", "bakehouse-watch.service")
