"""What a build asks and tidies at a vendor before and after Packer; the vendor lives in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from images import store
from images.home import Home
from images.hosts.keys import FirstKey
from images.packer import folder
from images.packer.cloud import clean, find, known, newest_generation, proven
from images.packer.kept import elsewhere
from images.packer.proof import addresses, throwaway
from images.packer.temporary import first_boot
from images.progress import Progress
from images.providers.base import PROVEN, SPEC, Order, Server, Stored
from images.recipe import Recipe
from specs.errors import BakehouseError
from specs.lock import Lock
from specs.model import Spec
from specs.plan import resolve
from tests.memory import MemoryProvider

KEY = "ssh-ed25519 AAAA bakehouse"


@dataclass
class Vendor(MemoryProvider):
    """Also keeps snapshots."""

    snapshots: list[Stored] = field(default_factory=list)

    def images(self, spec: str) -> Sequence[Stored]:
        return [found for found in self.snapshots if found.labels["spec"] == spec]

    def delete_stored(self, handle: str) -> None:
        self.snapshots = [found for found in self.snapshots if found.handle != handle]

    def label_image(self, handle: str, labels: Mapping[str, str]) -> None:
        for n, found in enumerate(self.snapshots):
            if found.handle == handle:
                self.snapshots[n] = replace(found, labels=labels)

    def packer_environment(self) -> dict[str, str]:
        raise AssertionError("not here")


LOCK = Lock(1_700_000_000, "trixie", "amd64", {"base": ()}, {}, {})
RECIPE = Recipe(Spec("shop"), resolve(Spec("shop"), LOCK, ()), "#cloud-config\n", "source", {})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """With a folder to work in."""
    found = Home(tmp_path)
    found.work.mkdir()
    return found


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
    """Also not a proven snapshot of the same image, nor what is of a spec with a longer name."""
    vendor = Vendor(
        snapshots=[
            snapshot(RECIPE.id, "1"),
            snapshot("shop-0", "2", proven="x"),
            snapshot(RECIPE.id, "3", proven="x"),
        ]
    )
    bake, stay = folder.SERVER_PREFIX, ["other", "shop-staging", "shop-staging-proof"]
    for name in [f"{bake}shop", f"{bake}shop-proof", *(f"{bake}{n}" for n in stay), "shop-g1-e1"]:
        vendor.create_server(Order(name, "1", "", {SPEC: ""}))
    clean(vendor, RECIPE, Progress())
    assert [found.handle for found in vendor.snapshots] == ["2", "3"]
    left = [server.name for server in vendor.servers("")]
    assert left == sorted([*(f"{bake}{n}" for n in stay), "shop-g1-e1"])


def test_a_proof_that_is_cut_short_deletes_no_snapshot(home: Home) -> None:
    """Above all not the proven one of the same image, which may be the one to roll back to."""
    made = [snapshot(RECIPE.id, "1"), snapshot(RECIPE.id, "2", proven="2026-01-31")]
    vendor = Vendor(snapshots=[*made])
    (home.work / "proof").mkdir()
    with pytest.raises(FileExistsError):
        proven(vendor, made[0], RECIPE, home, Progress(), after=0)
    assert vendor.snapshots == made


def test_a_throwaway_goes_also_when_its_making_failed() -> None:
    class Slow(Vendor):
        def create_server(self, order: Order) -> Server:
            super().create_server(order)
            raise BakehouseError("it does not become active", "wait")

    vendor, wanted = Slow(), Order(f"{folder.SERVER_PREFIX}shop-proof", "1", "", {})
    with pytest.raises(BakehouseError, match="active"), throwaway(vendor, wanted, print):
        pass
    assert vendor.left_overs(folder.temporary_names("shop")) == []


def test_a_throwaway_that_cannot_be_deleted_is_told() -> None:
    class Silent(Vendor):
        def delete_server(self, server: str) -> None:
            raise BakehouseError("no answer", "wait")

    told: list[str] = []
    with throwaway(Silent(), Order("bakehouse-bake-shop-proof", "1", "", {}), told.append):
        pass
    assert "costs money" in told[0]


def test_a_snapshot_that_another_machine_proved_keeps_its_number(home: Home) -> None:
    found = snapshot(RECIPE.id, "1", proven="2026-01-31", generation="5")
    vendor = Vendor(snapshots=[found])
    built = known(vendor, RECIPE, home, 9)
    assert built is not None
    assert (built.generation.number, built.cached) == (5, True)
    again = known(vendor, RECIPE, home, 4)
    assert again is not None
    assert again.generation == built.generation
    assert store.report(home, RECIPE.id)["passed"]


def test_a_number_that_is_another_images_here_is_not_taken_twice(home: Home) -> None:
    found = snapshot(RECIPE.id, "1", proven="2026-01-31", generation="5")
    ours = store.Generation("shop", 5, "shop-000000000000", "2027-01-01T00:00:00Z")
    store.keep_generation(home, ours)
    assert elsewhere(RECIPE, home, found).generation.number == 6
    assert next(store.generations(home, "shop")) == ours


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
