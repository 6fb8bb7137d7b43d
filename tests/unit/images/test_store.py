"""The store: images appear whole, generations count up, a touched disk is not believed."""

import json
from pathlib import Path

import pytest

from images import store
from images.home import Home
from specs.errors import BakehouseError, UsageError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.work.mkdir(parents=True)
    return found


def publish(home: Home, name: str, digest: str = "d" * 64) -> store.Image:
    staged = home.work / "staged"
    staged.mkdir()
    (staged / store.RAW).write_bytes(b"disk of " + name.encode())
    image = store.Image(
        id=f"{name}-000000000000",
        name=name,
        digest=digest,
        size=7,
        created=store.now(),
        plan="0" * 64,
        layers=("a", "b"),
        seconds={"disk": 1.5},
        seen=store.seen(staged / store.RAW),
    )
    store.publish(home, staged, image)
    return image


def test_a_published_image_is_found_as_it_was(home: Home) -> None:
    image = publish(home, "web")
    assert store.find(home, image.id) == image


def test_an_unknown_image_is_not_found(home: Home) -> None:
    assert store.find(home, "web-111111111111") is None


@pytest.mark.parametrize("touch", ["content", "gone", "record"])
def test_a_damaged_image_is_not_found(home: Home, touch: str) -> None:
    image = publish(home, "web")
    raw = store.raw_path(home, image.id)
    if touch == "content":
        raw.write_bytes(b"another disk")
    elif touch == "gone":
        raw.unlink()
    else:
        (raw.parent / store.RECORD).write_text("{", encoding="utf-8")
    assert store.find(home, image.id) is None


def test_publishing_again_replaces_a_damaged_image(home: Home) -> None:
    image = publish(home, "web")
    store.raw_path(home, image.id).unlink()
    again = publish(home, "web")
    assert store.find(home, image.id) == again


def test_generations_count_up_and_repeat_nothing(home: Home) -> None:
    numbers = [store.add_generation(home, "web", i).number for i in ("a", "a", "b", "a")]
    assert numbers == [1, 1, 2, 3]
    assert [g.image for g in store.generations(home, "web")] == ["a", "b", "a"]


def test_generations_of_specs_are_apart(home: Home) -> None:
    store.add_generation(home, "web", "a")
    store.add_generation(home, "db", "b")
    assert [(g.name, g.number) for g in store.generations(home)] == [("db", 1), ("web", 1)]


def test_the_tenth_generation_comes_after_the_ninth(home: Home) -> None:
    for number in range(11):
        store.add_generation(home, "web", f"i{number}")
    assert [g.number for g in store.generations(home, "web")] == list(range(1, 12))


def test_images_are_looked_up_by_id_and_by_generation(home: Home) -> None:
    image = publish(home, "web")
    store.add_generation(home, "web", image.id)
    assert store.look_up(home, image.id) == image
    assert store.look_up(home, "web@1") == image


def test_looking_up_nothing_names_what_there_is(home: Home) -> None:
    image = publish(home, "web")
    store.add_generation(home, "web", image.id)
    with pytest.raises(UsageError) as caught:
        store.look_up(home, "web@2")
    assert caught.value.hint == f"there is web@1 ({image.id})"


def test_the_record_is_readable_by_other_tools(home: Home) -> None:
    image = publish(home, "web")
    record = json.loads((home.images / image.id / store.RECORD).read_text())
    assert record["id"] == image.id and record["seconds"] == {"disk": 1.5}


OTHER = '{"name": "web", "number": 2, "image": "a", "created": ""}'


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "web", "number": "1"}', OTHER])
def test_a_damaged_generation_is_an_error_with_its_file(home: Home, text: str) -> None:
    file = home.generations / "web" / "1.json"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BakehouseError, match=r"web/1\.json"):
        list(store.generations(home))


@pytest.mark.parametrize("name", ["/etc", ".", "..", "*", "web/.."])
def test_a_name_is_a_name_and_no_pattern(home: Home, name: str) -> None:
    store.add_generation(home, "web", publish(home, "web").id)
    assert list(store.generations(home, name)) == []


@pytest.mark.parametrize("word", ["@1", "../images/web-000000000000", "web@", ""])
def test_only_an_id_or_a_generation_means_an_image(home: Home, word: str) -> None:
    store.add_generation(home, "web", publish(home, "web").id)
    with pytest.raises(UsageError, match="no image"):
        store.look_up(home, word)
