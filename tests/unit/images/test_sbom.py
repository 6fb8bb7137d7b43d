"""An image's bill of materials and its provenance follow from its recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from images.disk import Disk
from images.disk.chunks import Chunks
from images.recipe import Recipe
from images.sbom import provenance, sbom
from specs.lock import Index, Lock, LockedPackage, dump
from specs.model import App, Build, Docker, Repository, Spec, System
from specs.plan import Payload, resolve

IMAGE = "registry.example.org:5000/team/Web:2@sha256:" + "d" * 64
SPEC = Spec(
    name="shop",
    system=System(
        repositories=(Repository("pgdg", "https://x.example", "s", ("main",), "k", "F" * 40),)
    ),
    docker=Docker(),
    apps=(
        App("built", build=Build(packages=("python3",), folder="app")),
        App("bare", build=Build(folder="app")),
        App("web", image=IMAGE),
        App("old", archive="old.tar"),
    ),
)


def package(name: str, version: str, archive: str = "debian") -> LockedPackage:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return LockedPackage(name, version, "amd64", archive, f"pool/{name}.deb", digest, 1)


LOCK = Lock(
    epoch=1_700_000_000,
    release="trixie",
    architecture="amd64",
    sets={
        "core": (package("dpkg", "1.22.21"),),
        "base": (package("openssl", "3.5.1-1+deb13u1", "debian-security"),),
        "services": (package("pgbouncer", "1:1.25+x~1", "pgdg"),),
        "extra": (),
        "tools": (package("mtools", "4.0.48-1"),),
        "app:built": (package("python3", "3.13.5-1"),),
    },
    indexes={"debian trixie": Index("2026-01-31T12:00:00Z", "1" * 64)},
    uids={},
    images={"web": "sha256:" + "d" * 64, "old": "sha256:" + "e" * 64},
)


def recipe_of(lock: Lock | None) -> Recipe:
    payloads = tuple(Payload(f"app/{app.name}", "a" * 64, "/x") for app in SPEC.apps)
    return Recipe(SPEC, resolve(SPEC, lock, payloads), "#cloud-config\n", "5" * 64, {})


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom(recipe_of(LOCK)))
    return found


def test_the_schema_of_cyclonedx_takes_it() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom(recipe_of(LOCK))) is None


def test_every_package_of_the_image_is_in_it_with_its_digest(document: dict[str, Any]) -> None:
    found = {c["name"]: c for c in document["components"] if c["type"] == "library"}
    assert set(found) == {"dpkg", "openssl", "pgbouncer"}
    assert found["openssl"]["purl"] == "pkg:deb/debian/openssl@3.5.1-1%2Bdeb13u1?arch=amd64"
    assert found["openssl"]["hashes"] == [
        {"alg": "SHA-256", "content": hashlib.sha256(b"openssl").hexdigest()}
    ]


def test_a_package_of_another_archive_is_not_called_debians(document: dict[str, Any]) -> None:
    purls = [c["purl"] for c in document["components"] if c["name"] == "pgbouncer"]
    assert purls == ["pkg:deb/pgdg/pgbouncer@1:1.25%2Bx~1?arch=amd64"]


def test_a_built_container_lists_its_own_packages(document: dict[str, Any]) -> None:
    built, bare = (
        next(c for c in document["components"] if c["bom-ref"] == f"app/{name}")
        for name in ("built", "bare")
    )
    assert [inner["name"] for inner in built["components"]] == ["dpkg", "python3"]
    assert "components" not in bare
    assert built["properties"] == [{"name": "bakehouse:made-from", "value": "sha256:" + "a" * 64}]


def test_foreign_containers_are_named_by_digest(document: dict[str, Any]) -> None:
    web, old = (
        next(c for c in document["components"] if c["bom-ref"] == f"app/{name}")
        for name in ("web", "old")
    )
    assert web["hashes"][0]["content"] == "d" * 64
    assert web["purl"].startswith("pkg:oci/web@sha256:" + "d" * 64)
    assert "registry.example.org:5000" in web["purl"].replace("%3A", ":")
    assert (old["name"], old["version"]) == ("old.tar", "sha256:" + "e" * 64)


def test_references_are_unique(document: dict[str, Any]) -> None:
    refs = [c["bom-ref"] for c in document["components"]]
    refs += [inner["bom-ref"] for c in document["components"] for inner in c.get("components", ())]
    assert len(refs) == len(set(refs)) == 9


def test_one_recipe_has_one_text_and_the_time_of_its_lock(document: dict[str, Any]) -> None:
    assert sbom(recipe_of(LOCK)) == sbom(recipe_of(LOCK))
    assert "serialNumber" not in document
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_provenance_names_what_the_bits_came_from(tmp_path: Path) -> None:
    recipe = recipe_of(LOCK)
    disk = Disk(tmp_path / "x.raw", 1 << 30, "7" * 64, Chunks(()), "uuid")
    found = json.loads(provenance(recipe, ("l1", "l2", "l3"), disk))
    assert found["plan"] == recipe.digest
    assert found["lock"] == hashlib.sha256(dump(LOCK).encode()).hexdigest()
    assert found["source"] == "5" * 64
    assert [layer["name"] for layer in found["layers"]] == ["core", "base", "services"]
    assert found["disk"] == {"digest": "7" * 64, "size": 1 << 30}
    assert found["tool"]["version"]


def test_without_a_lock_there_is_neither() -> None:
    recipe = recipe_of(None)
    with pytest.raises(ValueError, match="without a lock"):
        sbom(recipe)
    other = recipe_of(replace(LOCK, epoch=1_700_000_001))
    assert sbom(other) != sbom(recipe_of(LOCK))
