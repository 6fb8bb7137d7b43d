"""What `packer/` holds: a static template, and variables that follow from the recipe."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from images.packer import folder
from images.packer.plugins import PLUGINS, required_plugins
from images.providers.base import GENERATION
from images.recipe import Recipe
from specs.lock import Lock, LockedPackage
from specs.model import Deploy, Spec
from specs.plan import resolve

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
CLOUD_INIT = LockedPackage("cloud-init", "25.1.4-1", "amd64", "debian", "p", "0" * 64, 1)
LOCK = Lock(1_700_000_000, "trixie", "amd64", {"base": (CLOUD_INIT,)}, {}, {})


def recipe(spec: Spec, lock: Lock | None = LOCK) -> Recipe:
    return Recipe(spec, resolve(spec, lock, ()), "#cloud-config\n", "source", {})


def test_the_template_is_the_same_for_every_spec() -> None:
    one, other = (folder.documents(recipe(Spec(name))) for name in ("one", "other"))
    differs = {name for name in one if one[name] != other[name]}
    assert differs == {folder.VARIABLES}


def test_every_variable_is_declared() -> None:
    deploy = Deploy("hetzner", ("hel1", "fsn1"), ("cpx11",))
    chosen = folder.variables(recipe(Spec("shop", deploy=deploy)))
    template = (folder.STATIC / folder.TEMPLATE).read_text(encoding="utf-8")
    declared = set(re.findall(r'^variable "(\w+)"', template, re.MULTILINE))
    assert set(chosen) <= declared
    without = {
        name
        for name, body in re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', template, re.M | re.S)
        if "default" not in body
    }
    assert without <= set(chosen), "a person's call would be asked for these"


def test_variables_follow_from_the_plan() -> None:
    found = folder.variables(recipe(Spec("shop", deploy=Deploy("hetzner", ("hel1",), ("cpx11",)))))
    assert (found["epoch"], found["cloud_init"]) == ("1700000000", "25.1.4-1")
    assert (found["hcloud_location"], found["hcloud_server_type"]) == ("hel1", "cpx11")
    assert found["server"] == "bakehouse-bake-shop"


def test_places_of_digitalocean() -> None:
    found = folder.variables(recipe(Spec("shop", deploy=Deploy("digitalocean", ("ams3",)))))
    assert found["digitalocean_region"] == "ams3"
    assert "digitalocean_size" not in found


def test_labels_fit_a_vendors_rules() -> None:
    made = recipe(Spec("shop"))
    found = folder.labels(made, "provision", **{GENERATION: "7", "base": "debian-13"})
    assert all(LABEL.fullmatch(text) for text in (*found, *found.values()))
    assert found["plan"] == made.digest[:32]
    assert len(found["lock"]) == 32


def test_another_lock_is_another_label() -> None:
    one, other = recipe(Spec("shop")), recipe(Spec("shop"), replace(LOCK, epoch=1))
    assert folder.labels(one, "provision")["lock"] != folder.labels(other, "provision")["lock"]


def test_plugins_have_exact_versions() -> None:
    text = required_plugins()
    for plugin in PLUGINS:
        assert f'source  = "{plugin.source}"\n      version = "= {plugin.version}"' in text


@pytest.mark.parametrize("filled", [False, True])
def test_written_whole(tmp_path: Path, filled: bool) -> None:
    repo, payload, out = tmp_path / "repo", tmp_path / "payload", tmp_path / "out"
    for source in (repo, payload):
        source.mkdir()
        (source / "file").write_text("x", encoding="utf-8")
    given = {"repo": repo, "payloads": {"0" * 64: payload}} if filled else {}
    for _ in range(2):  # a second time replaces the first
        written = folder.write(recipe(Spec("shop")), out, **given)  # type: ignore[arg-type]
    assert {path.name for path in written} == set(folder.documents(recipe(Spec("shop"))))
    assert (out / "repo/file").exists() == filled
    assert (out / f"payload/{'0' * 64}/file").exists() == filled
    assert json.loads((out / folder.VARIABLES).read_text())["image"] == recipe(Spec("shop")).id
