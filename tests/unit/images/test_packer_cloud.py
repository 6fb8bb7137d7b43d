"""What a build asks and tidies at a vendor before and after Packer; the vendor lives in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
from ruamel.yaml import YAML

from images.garbage import Garbage
from images.hosts.keys import FirstKey
from images.packer import folder
from images.packer.cloud import PROVEN, clean, find, newest_generation
from images.packer.proof import addresses
from images.packer.temporary import first_boot
from images.progress import Progress
from images.providers.base import Server, Stored
from images.recipe import Recipe
from specs.model import Spec
from specs.plan import resolve
from tests.memory import MemoryProvider

KEY = "ssh-ed25519 AAAA bakehouse"


@dataclass
class Vendor(MemoryProvider):
    """Also keeps snapshots, and servers that dead runs left."""

    snapshots: list[Stored] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def images(self, spec: str) -> Sequence[Stored]:
        return [found for found in self.snapshots if found.labels["spec"] == spec]

    def delete_image(self, image_id: str) -> None:
        self.snapshots = [found for found in self.snapshots if found.id != image_id]

    def label_image(self, handle: str, labels: Mapping[str, str]) -> None:
        raise AssertionError("not here")

    def left_overs(self, prefix: str) -> Sequence[Garbage]:
        return [
            Garbage(name, 0, partial(self.left.remove, name))
            for name in self.left
            if name.startswith(prefix)
        ]

    def packer_environment(self) -> dict[str, str]:
        raise AssertionError("not here")


RECIPE = Recipe(Spec("shop"), resolve(Spec("shop"), None, ()), "#cloud-config\n", "source", {})


def snapshot(image_id: str, handle: str, **labels: str) -> Stored:
    return Stored(image_id, handle, 0, 0, {"spec": "shop", **labels})


def test_only_a_proven_snapshot_of_this_very_image_is_found() -> None:
    vendor = Vendor(snapshots=[snapshot(RECIPE.id, "1"), snapshot("shop-0", "2", proven="x")])
    assert find(vendor, RECIPE) is None
    vendor.snapshots.append(snapshot(RECIPE.id, "3", **{PROVEN: "2026-01-31"}))
    found = find(vendor, RECIPE)
    assert found is not None
    assert found.handle == "3"


def test_a_dead_runs_leftovers_go_and_nothing_else() -> None:
    vendor = Vendor(
        snapshots=[snapshot(RECIPE.id, "1"), snapshot("shop-0", "2", proven="x")],
        left=[f"{folder.SERVER_PREFIX}shop", f"{folder.SERVER_PREFIX}other", "shop-g1-e1"],
    )
    clean(vendor, RECIPE, Progress())
    assert [found.handle for found in vendor.snapshots] == ["2"]
    assert vendor.left == [f"{folder.SERVER_PREFIX}other", "shop-g1-e1"]


@pytest.mark.parametrize(("numbers", "newest"), [([], 0), (["3", "11", ""], 11)])
def test_the_newest_generation(numbers: list[str], newest: int) -> None:
    found = [snapshot(f"shop-{n}", "1", generation=n) for n in numbers]
    assert newest_generation(Vendor(snapshots=found), "shop") == newest


def test_another_base_is_another_image() -> None:
    ids = {folder.provisioned(RECIPE, base).id for base in ("1", "2")} | {RECIPE.id}
    assert len(ids) == 3


def test_first_boot_of_a_temporary_server() -> None:
    private = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
    known = YAML(typ="safe").load(first_boot(KEY, FirstKey(private, "ssh-ed25519 BBBB")))
    assert known["ssh_authorized_keys"] == [KEY]
    assert known["ssh_keys"]["ed25519_private"] == private
    assert "users" not in known, "the vendor's own way to let root in stays"
    local = YAML(typ="safe").load(first_boot(KEY, None))
    assert (local["users"], "ssh_keys" in local) == ([], False)


def test_addresses_of_a_server() -> None:
    server = Server("1", "a", "running", {}, "192.0.2.1", "", "192.0.2.1")
    assert addresses(server) == ("192.0.2.1",)
