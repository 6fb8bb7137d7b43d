"""The record of an image goes from one machine's store to another's by way of its server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images import store
from images.home import Home, write_whole
from images.promote.records import FILES, adopt, pack
from specs.errors import BakehouseError, UsageError
from tests.unit.images.promote.placed import NEW, deployed

IMAGE = "web-000000000000"


@pytest.fixture
def packed(tmp_path: Path) -> str:
    """What a server of generation 3 has been told."""
    home = Home(tmp_path / "baked")
    staged = home.work / "staged"
    staged.mkdir(parents=True)
    (staged / store.DOCUMENT).write_text("#cloud-config\n")
    (staged / store.RAW).write_bytes(b"disk")
    for name in FILES[:-1]:
        (staged / name).write_text(json.dumps({"it is": name}))
    seen = store.seen(staged / store.RAW)
    image = store.Image(IMAGE, "web", "d" * 64, 4, store.now(), "0" * 64, ("a",), {}, seen)
    store.publish(home, staged, image)
    assert store.baked(home, IMAGE)
    return pack(home, IMAGE)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "elsewhere")


def test_another_machine_knows_the_image_without_its_disk(home: Home, packed: str) -> None:
    adopt(home, "web", 3, IMAGE, packed)
    assert store.find(home, IMAGE) is None
    known = store.recorded(home, IMAGE)
    assert known == store.look_up(home, "web@3", disk=False)
    assert store.report(home, IMAGE) == {"it is": "report.json"}
    with pytest.raises(UsageError, match="no image"):
        store.look_up(home, "web@3")


@pytest.mark.parametrize("before", ["", "bake.yaml"])
def test_what_a_server_told_counts_as_baked_by_nobody_here(
    home: Home, packed: str, before: str
) -> None:
    """Also where the image was baked here once, and its record was damaged since."""
    if before:
        write_whole(home.images / IMAGE / before, "#cloud-config\n")
    adopt(home, "web", 3, IMAGE, packed)
    assert store.recorded(home, IMAGE) and not store.baked(home, IMAGE)
    for name in ("", ".", "../images/web-000000000000", "web-111111111111"):
        assert not store.baked(home, name)


def test_the_next_generation_counts_from_it(home: Home, packed: str) -> None:
    adopt(home, "web", 3, IMAGE, packed)
    assert store.add_generation(home, "web", "web-111111111111").number == 4


@pytest.mark.parametrize(
    ("image", "text", "what"),
    [
        ("web-111111111111", None, "the record of web-000000000000, not of web-111111111111"),
        (IMAGE, "", "no record"),
        (IMAGE, "[]", "no record"),
        (IMAGE, json.dumps(dict.fromkeys(FILES, "{}")), "no record"),
    ],
)
def test_what_is_no_record_of_it_is_not_kept(
    home: Home, packed: str, image: str, text: str | None, what: str
) -> None:
    with pytest.raises(BakehouseError, match=what):
        adopt(home, "web", 3, image, packed if text is None else text)
    assert not home.images.exists()
    assert not list(store.generations(home))


def test_a_number_that_is_another_images_here_is_not_taken(home: Home, packed: str) -> None:
    """Two machines that keep homes of their own have counted apart."""
    ours = store.Generation("web", 3, "web-000000000009", "2027-01-01T00:00:00Z")
    store.keep_generation(home, ours)
    with pytest.raises(BakehouseError, match=r"web@3 is web-000000000009 .* counted apart"):
        adopt(home, "web", 3, IMAGE, packed)
    assert list(store.generations(home, "web")) == [ours]
    assert store.recorded(home, IMAGE) is None


def test_a_run_asks_for_secrets_by_the_plan_of_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says whether that is ours, or the word of a server."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr("images.promote.job.gather", lambda *_, **more: asked.append(more))
    site = deployed(tmp_path)
    site.job().secrets()
    write_whole(site.home.images / NEW.id / store.DOCUMENT, "#cloud-config\n")
    site.job().secrets()
    assert asked == [{"named": NEW.id, "baked": False}, {"named": NEW.id, "baked": True}]
