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
