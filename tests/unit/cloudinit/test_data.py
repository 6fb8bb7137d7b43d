"""Folders for data and for what lives in memory only."""

from __future__ import annotations

from dataclasses import replace

from cloudinit import data
from specs.model import Data
from specs.plan import ImagePlan


def test_folders(plan: ImagePlan) -> None:
    plan = replace(plan, data=Data("volume", ("/data/files", "/data/our 100%")))
    lines = data.part(plan).files[0].content.splitlines()
    assert "d /data/state 0700 root root" in lines
    assert "d /run/bakehouse/secrets 0700 root root" in lines
    assert 'd "/data/files" :0755 :root :root' in lines  # an owner that the app gave it stays
    assert 'd "/data/our 100%%" :0755 :root :root' in lines


def test_with_a_volume_nothing_uses_data_before_it_is_mounted(plan: ImagePlan) -> None:
    volume = replace(plan, data=Data("volume", ()))
    assert data.part(volume).enable == ("bakehouse-data.service",)
    files = {file.path: file.content for file in data.part(volume).files}
    for unit in (
        "postgresql@17-main.service",
        "bakehouse-databases.service",
        "pgbouncer.service",
        "bakehouse-app@.service",
        "caddy.service",
    ):
        condition = files[f"/etc/systemd/system/{unit}.d/volume.conf"]
        assert "ConditionPathIsMountPoint=/data" in condition
        assert "After=bakehouse-data.service" in condition


def test_without_a_volume_nothing_waits_for_one_and_data_has_its_limits(plan: ImagePlan) -> None:
    for strategy in ("replica", "none"):
        part = data.part(replace(plan, data=Data(strategy, ())))
        assert part.enable == ("data.mount",)
        files = {file.path: file.content for file in part.files}
        assert set(files) == {
            "/etc/tmpfiles.d/bakehouse.conf",
            "/etc/systemd/system/data.mount",
        }
        unit = files["/etc/systemd/system/data.mount"]
        assert "What=/data\nWhere=/data\n" in unit
        assert "Options=bind,nosuid,nodev\n" in unit
