"""What of a spec stays at its provider, by what the provider knows alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import marks
from images.garbage import collect
from images.history import journal
from images.home import Home
from images.packer.folder import temporary_names
from images.promote.alone import alone
from images.promote.job import ACTIVE, GIVEN_UP, STANDBY, Site, labels
from images.promote.lease import take
from images.provider_garbage import garbage
from images.providers.base import SPEC, Order, note_of
from images.scheduled import numbers
from images.store import Generation
from specs.model import Spec
from tests.memory import MemoryProvider

WEB = Spec("web")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Generations 1 to 6 of `web` are at the provider; this machine has nothing of them."""
    found = Site(Home(tmp_path), MemoryProvider(), WEB, Path("web.yaml"))
    for number in range(1, 7):
        numbers.note(found, Generation("web", number, image(number), "2027-01-01T00:00:00Z"))
        found.provider.image(Path("raw"), image(number))
    found.provider.image(Path("raw"), "other-000000000001")
    return found


def image(number: int) -> str:
    return f"web-{number:012}"


def server(site: Site, number: int, role: str, *, on: bool = True) -> None:
    order = Order(
        f"web-g{number}", image(number), "", labels("web", number, image(number), role, 1)
    )
    made = site.provider.create_server(order)
    if not on:
        site.provider.power_off(made.id)


def left(site: Site, keep: int = 2) -> list[int]:
    """The generations whose images are there after gc."""
    collect(garbage(site, keep), lambda _: None)
    return [int(found.id.rpartition("-")[2]) for found in site.provider.images("web")]


def test_the_last_ones_stay_and_other_specs_are_not_touched(site: Site) -> None:
    assert left(site) == [5, 6]
    assert [found.id for found in site.provider.images("other")] == ["other-000000000001"]
    assert garbage(site, 2) == []


def test_what_serves_and_what_a_rollback_needs_stay(site: Site) -> None:
    """Also a server that is off for the moment."""
    server(site, 1, STANDBY, on=False)
    server(site, 3, ACTIVE)
    assert left(site) == [1, 3, 5, 6]
    assert [found.name for found in site.provider.servers("web")] == ["web-g1", "web-g3"]


def test_what_served_stays_when_its_server_was_deleted(site: Site) -> None:
    """Its number is older than the notes are, so the image itself tells it, as snapshots do."""
    provider = site.provider
    assert isinstance(provider, MemoryProvider)
    for number in (2, 3):
        provider.delete_image(image(number))
        provider.image(Path("raw"), image(number), {"generation": str(number)})
    log = journal(site.home, "web")
    for number in (1, 2, 3):
        log.record("promote", "done", generation=number)
    assert sorted(left(site)) == [2, 3, 5, 6]


def test_pins_are_known_to_other_machines(site: Site, tmp_path: Path) -> None:
    second = Generation("web", 2, image(2), "")
    here = Home(tmp_path / "here")
    marks.pin(here, site.provider, second)
    assert left(site) == [2, 5, 6]
    assert marks.unpin(site.home, site.provider, second)
    assert not marks.unpin(site.home, site.provider, second)
    assert left(site) == [5, 6]


def test_a_bad_one_is_not_one_of_the_last(site: Site, tmp_path: Path) -> None:
    marks.mark_bad(Home(tmp_path / "here"), site.provider, "web", image(6), "/ answers 502")
    assert left(site) == [4, 5]


def test_notes_of_bad_ones_do_not_pile_up(site: Site) -> None:
    for number in range(1, 2 * marks.NOTED):
        marks.mark_bad(site.home, site.provider, "web", image(number), "/ answers 502")
    assert len(site.provider.notes("web.bad-")) == marks.NOTED


def test_servers_left_behind_go_and_those_with_data_stay(site: Site) -> None:
    server(site, 2, GIVEN_UP, on=False)
    server(site, 3, "", on=False)
    server(site, 4, "")
    assert left(site) == [2, 4, 5, 6]
    assert [found.name for found in site.provider.servers("web")] == ["web-g2", "web-g4"]


def test_nothing_goes_while_somebody_swaps(site: Site) -> None:
    lease = take(site.provider, "web", "me", {"verb": "promote"})
    assert garbage(site, 1) == []
    lease.release()
    assert left(site, 1) == [6]


def test_what_no_generation_names_goes(site: Site) -> None:
    site.provider.image(Path("raw"), image(77))
    assert 77 not in left(site)


def test_an_image_may_name_its_generation_itself(site: Site) -> None:
    """As snapshots do that Packer made."""
    provider = site.provider
    assert isinstance(provider, MemoryProvider)
    provider.image(Path("raw"), image(7), {"generation": "7"})
    assert left(site, 2) == [6, 7]
    assert provider.images("web")[-1].labels[SPEC] == "web"


def test_what_is_being_built_stays(site: Site) -> None:
    """An image that another machine proves, and that machine's servers."""
    site.provider.image(Path("raw"), image(77))
    site.provider.create_server(Order("bakehouse-bake-web", image(1), "", {}))
    with alone(site, "build"):
        assert 77 in left(site)
        assert site.provider.left_overs(temporary_names("web"))
    assert left(site) == [5, 6]
    assert not site.provider.left_overs(temporary_names("web"))


def test_the_notes_of_a_spec_are_told_from_those_of_others(site: Site) -> None:
    take(site.provider, site.name, "us", {})
    with alone(site, "build"):
        pass
    marks.pin(site.home, site.provider, Generation("web", 1, image(1), "2027-01-01T00:00:00Z"))
    marks.mark_bad(site.home, site.provider, "web", image(2), "it fell")
    names = [note.name for note in site.provider.notes("web")]
    assert len(names) == 7, names
    assert all(note_of("web", name) for name in names)
    others = ("web-shop-lease-1", "web-shop.generation-1", "web-lease.bad-1", "web", "website")
    assert not [name for name in others if note_of("web", name)]
