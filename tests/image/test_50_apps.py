"""Apps in their containers, and sites as a client sees them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.image.kit import Expected, Shell
from tests.image.web import fetch, host_of


@pytest.fixture(scope="module")
def authority(sh: Shell) -> str:
    """The throwaway's own certificate authority, read from its files."""
    path = "/data/caddy/pki/authorities/local/root.crt"
    return sh(f"cat {path} 2>/dev/null || true")


def containers(sh: Shell, app: Expected) -> list[dict[str, Any]]:
    names = [f"{app['name']}-{number + 1}" for number in range(app["replicas"])]
    found: list[dict[str, Any]] = json.loads(sh("docker inspect", *names))
    return found


def test_every_replica_runs_its_image(sh: Shell, expect: Expected) -> None:
    for app in expect["apps"]:
        for container in containers(sh, app):
            assert container["State"]["Status"] == "running", container["Name"]
            assert container["Config"]["Image"] == app["image"]
            assert container["RestartCount"] == 0


def test_no_other_container_runs(sh: Shell, expect: Expected) -> None:
    if not expect["docker"]:
        pytest.skip("the spec has no Docker")
    running = sum(app["replicas"] for app in expect["apps"])
    assert len(sh("docker ps --quiet").split()) == running


def test_containers_have_no_power(sh: Shell, expect: Expected) -> None:
    """A limit of processes only where the kernel of a container-booted machine can count them."""
    controllers = sh("cat /sys/fs/cgroup/cgroup.controllers").split()
    for app in expect["apps"]:
        for container in containers(sh, app):
            host = container["HostConfig"]
            assert not host["Privileged"]
            assert host["CapDrop"] == ["ALL"]
            assert "no-new-privileges:true" in host["SecurityOpt"]
            assert host["PidsLimit"] or "pids" not in controllers
            assert host["NetworkMode"] not in ("host", "none")


def test_every_replica_is_healthy(sh: Shell, expect: Expected) -> None:
    for app in expect["apps"]:
        for port in app["ports"] if app["health"] else ():
            url = f"http://127.0.0.1:{port}{app['health']}"
            code = sh("curl --silent --output /dev/null --write-out '%{http_code}'", url)
            assert code[:1] in "23", f"{app['name']} at {port} answers {code}"


def test_volumes_are_folders_of_the_data(sh: Shell, expect: Expected) -> None:
    for app in expect["apps"]:
        for container in containers(sh, app):
            mounts = {m["Source"]: m["Destination"] for m in container["Mounts"] if m["RW"]}
            assert mounts == app["volumes"]


def test_secrets_reach_their_app_only(sh: Shell, expect: Expected) -> None:
    for app in expect["apps"]:
        folder = f"/run/bakehouse/apps/{app['name']}/secrets"
        found = sh(f"ls {folder} 2>/dev/null || true").split()
        assert found == sorted(app["secrets"])
        for name in app["secrets"]:
            assert sh("cat", f"{folder}/{name}") == expect["secrets"][name]
            assert sh("stat -c %a", f"{folder}/{name}").strip() == "400"
        for container in containers(sh, app):
            shown = json.dumps(container["Config"])
            assert not any(value in shown for value in expect["secrets"].values())


def test_secret_variables_are_in_the_process_alone(sh: Shell, expect: Expected) -> None:
    """Docker has no word of them: it would write them to the disk."""
    for app in expect["apps"]:
        wanted = {
            f"{variable}={expect['secrets'][name]}"
            for variable, name in app["secret_environment"].items()
        }
        for container in containers(sh, app) if wanted else ():
            found = sh(f"cat /proc/{container['State']['Pid']}/environ").split("\0")
            assert wanted <= {*found}


def test_log_limits(sh: Shell, expect: Expected) -> None:
    for app in expect["apps"]:
        for container in containers(sh, app):
            log = container["HostConfig"]["LogConfig"]
            assert log["Type"] == "local"
            assert {"max-size", "max-file"} <= set(log["Config"])


def test_sites_answer(addresses: list[str], expect: Expected, authority: str) -> None:
    for site in expect["sites"]:
        for name in site["addresses"]:
            https = not name.startswith(("http://", ":"))
            for address in addresses:
                answer = fetch(
                    address,
                    host_of(name),
                    site["health"] or "/",
                    authority=authority if https else "",
                )
                if site["redirect"]:
                    assert answer.status in (301, 308)
                    assert answer.headers["location"].startswith(site["redirect"].rstrip("/"))
                else:
                    assert 200 <= answer.status < 400, f"{name}: {answer.status}"
                for header, value in site["headers"].items():
                    assert answer.headers[header.lower()] == value


def test_plain_http_leads_to_https(addresses: list[str], expect: Expected) -> None:
    for site in expect["sites"]:
        if site["https"]:
            answer = fetch(addresses[0], host_of(site["addresses"][0]))
            assert answer.status in (301, 308)
            assert answer.headers["location"].startswith("https://")


def test_unknown_names_get_nothing(addresses: list[str], expect: Expected) -> None:
    named = [site for site in expect["sites"] if not site["addresses"][0].startswith(":")]
    if len(named) < len(expect["sites"]) or not named:
        pytest.skip("no site, or one that takes any name")
    assert fetch(addresses[0], "unknown.example").status == 404


def test_generation_is_told(addresses: list[str], expect: Expected, authority: str) -> None:
    for site in expect["sites"]:
        answer = fetch(
            addresses[0],
            host_of(site["addresses"][0]),
            "/.well-known/bakehouse",
            authority=authority if site["https"] else "",
        )
        assert json.loads(answer.body)["generation"] == 0


def test_answers_are_compressed(addresses: list[str], expect: Expected, authority: str) -> None:
    """Only what is text and larger than 512 bytes (Caddy's `encode`)."""
    for site in expect["sites"]:
        if not site["compress"] or site["redirect"]:
            continue
        host, path = host_of(site["addresses"][0]), "/"
        vouch = authority if site["https"] else ""
        plain = fetch(addresses[0], host, path, authority=vouch)
        packed = fetch(
            addresses[0], host, path, authority=vouch, headers={"Accept-Encoding": "gzip"}
        )
        if len(plain.body) > 512 and plain.headers.get("content-type", "").startswith("text/"):
            assert packed.headers.get("content-encoding") == "gzip"
            assert len(gzip.decompress(packed.body)) > 512
