"""`boot.yaml` tells a server who it is, and nothing secret."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cloudinit.boot import boot
from cloudinit.validate import load
from specs import layout
from specs.plan import ServerPlan

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEh1/F8YX2Tm6N5GvGQaDxob00sSBfx5+j9dMuERZR8u operator"


@pytest.fixture
def server() -> ServerPlan:
    return ServerPlan("shop-7", "standby", 7, "shop-0123456789ab", "deploy", (KEY,))


def files(server: ServerPlan) -> dict[str, str]:
    return {file["path"]: file["content"] for file in load(boot(server))["write_files"]}


def test_the_server_learns_its_role(server: ServerPlan) -> None:
    assert json.loads(files(server)[layout.BOOT_JSON]) == {
        "role": "standby",
        "generation": 7,
        "image": "shop-0123456789ab",
        "hostname": "shop-7",
        "may_init": False,
    }


def test_operators_keys_are_the_admin_s(server: ServerPlan) -> None:
    assert files(server)["/etc/ssh/authorized_keys.d/deploy.boot"] == f"{KEY}\n"


def test_without_keys_there_is_no_key_file(server: ServerPlan) -> None:
    bare = ServerPlan("shop-7", "standby", 7, "shop-0123456789ab", "deploy")
    assert list(files(bare)) == [layout.BOOT_JSON]


def test_floating_ips_are_the_loopback_s_own(server: ServerPlan) -> None:
    both = replace(server, floating_ips=("203.0.113.1", "2001:db8:f10a::1"))
    lines = files(both)[layout.FLOATING].splitlines()
    assert [line for line in lines if line.startswith(("Name=", "Address="))] == [
        "Name=lo",
        "Address=203.0.113.1/32",
        "Address=2001:db8:f10a::1/128",
    ]


def test_it_fits_the_smallest_vendor_limit(server: ServerPlan) -> None:
    """Hetzner's API takes 32 KiB of user data."""
    many = ServerPlan("shop-7", "standby", 7, "shop-0123456789ab", "deploy", (KEY,) * 50)
    assert len(boot(many)) < 32 * 1024


def test_nothing_is_installed_run_or_logged_in(server: ServerPlan) -> None:
    assert set(load(boot(server))) == {
        "hostname",
        "manage_etc_hosts",
        "growpart",
        "resize_rootfs",
        "write_files",
    }


def test_a_throwaway_host_key_is_for_root_alone(server: ServerPlan) -> None:
    text = "-----BEGIN THROWAWAY\n-----END\n"
    written = load(boot(replace(server, first_key=text)))["write_files"][-1]
    assert written == {
        "path": "/run/bakehouse/first_host_key",
        "owner": "root:root",
        "permissions": "0600",
        "content": text,
    }
    assert "/run/bakehouse/first_host_key" not in files(server)
