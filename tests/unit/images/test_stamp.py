"""A stamp is believed as long as reading everything again would say the same, and no longer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images import source, stamp, store
from images.built import Built
from images.existing import find_existing
from images.home import Home
from images.recipe import inputs, prepare, read_lock
from specs import packages
from specs.errors import BakehouseError
from specs.lock import Lock, LockedPackage, dump, lock_path
from specs.model import Spec
from specs.read import read

WEB = """\
name: web
imports: [modules/site.yaml, linked/site.yaml]
"""
SITE = """\
caddy: {sites: {"http://site.example.org": {static: ../pages}}}
"""
BASH = LockedPackage("bash", "1", "all", "debian", "pool/b.deb", "0" * 64, 5)


class Bakery:
    """A spec with all kinds of inputs, and a home that has its image."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.spec, self.home = folder, folder / "web.yaml", Home(folder / "home")
        for made in ("modules", "other", "pages/deep"):
            (folder / made).mkdir(parents=True)
        (folder / "linked").symlink_to("modules")
        (folder / "modules/site.yaml").write_text(SITE)
        (folder / "other/site.yaml").write_text(SITE.replace("site.example", "else.example"))
        (folder / "pages/index.html").write_text("one")
        (folder / "pages/deep/a.txt").write_text("a")
        (folder / "pages/link").symlink_to("index.html")
        self.spec.write_text(WEB)
        spec = read(self.spec)
        lock_path(self.spec).write_text(dump(_lock(spec)))
        recipe = prepare(spec, self.spec, read_lock(self.spec))
        staged = self.home.work / "staged"
        staged.mkdir(parents=True)
        (staged / store.RAW).write_bytes(b"disk")
        image = store.Image(
            id=recipe.id,
            name="web",
            digest="d" * 64,
            size=4,
            created=store.now(),
            plan=recipe.digest,
            layers=(),
            seconds={},
            seen=store.seen(staged / store.RAW),
        )
        store.publish(self.home, staged, image)
        store.add_generation(self.home, "web", image.id)

    def build(self, began: int | None = None) -> Built | None:
        """What a build does that finds its image; `began` is now, unless given."""
        began = time.time_ns() + 2 * stamp.TICK if began is None else began
        model = read(self.spec)
        seen = stamp.looks(inputs(model, self.spec))
        built = find_existing(model, self.spec, self.home)
        if built:
            stamp.keep(built, self.spec, seen, self.home, began)
        return built

    def stamped(self) -> bool:
        return stamp.find(self.spec, self.home) is not None


def _lock(spec: Spec) -> Lock:
    return Lock(
        epoch=0,
        release="trixie",
        architecture="amd64",
        sets={"base": (BASH,)},
        indexes={},
        uids=packages.numbers(spec),
        wanted=packages.layers(spec),
    )


@pytest.fixture
def bakery(tmp_path: Path) -> Bakery:
    made = Bakery(tmp_path)
    time.sleep(0.02)  # beyond a tick, as `began` is beyond a real one
    assert made.build()
    return made


def test_what_was_not_touched_is_found_as_reading_finds_it(bakery: Bakery) -> None:
    found, again = stamp.find(bakery.spec, bakery.home), bakery.build()
    assert found and again
    assert (found.image, found.generation, found.path, found.cached) == (
        again.image,
        again.generation,
        again.path,
        True,
    )


def test_a_spec_is_known_by_its_place(bakery: Bakery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bakery.folder)
    assert stamp.find(Path("web.yaml"), bakery.home)
    assert not stamp.find(Path("other/site.yaml"), bakery.home)


def _same_size_and_mtime(path: Path) -> None:
    before = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _retarget(link: Path, to: str) -> None:
    link.unlink()
    link.symlink_to(to)


TOUCHES: dict[str, Callable[[Path], object]] = {
    "the spec": lambda at: (at / "web.yaml").write_text(f"{WEB}\n"),
    "an import": lambda at: (at / "modules/site.yaml").write_text(f"{SITE}\n"),
    "the way to an import": lambda at: _retarget(at / "linked", "other"),
    "the lock": lambda at: (at / "web.lock").touch(),
    "no lock": lambda at: (at / "web.lock").unlink(),
    "a page": lambda at: (at / "pages/index.html").write_text("two"),
    "a page, in secret": lambda at: _same_size_and_mtime(at / "pages/index.html"),
    "a page more": lambda at: (at / "pages/deep/b.txt").touch(),
    "a page less": lambda at: (at / "pages/deep/a.txt").unlink(),
    "a page's mode": lambda at: (at / "pages/index.html").chmod(0o755),
    "a link": lambda at: _retarget(at / "pages/link", "deep/a.txt"),
    "the folder": lambda at: (at / "pages").rename(at / "pages.old"),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_any_touch_is_seen(bakery: Bakery, touch: Callable[[Path], object]) -> None:
    touch(bakery.folder)
    assert not bakery.stamped()


@pytest.mark.parametrize("part", ["disk", "record", "stamp", "[]", "{}"])
def test_a_damaged_image_or_stamp_is_not_believed(bakery: Bakery, part: str) -> None:
    [mark] = bakery.home.images.glob("*/stamp-*.json")
    match part:
        case "disk":
            (mark.parent / store.RAW).write_bytes(b"DISK")
        case "record":
            (mark.parent / store.RECORD).write_text("{")
        case "stamp":
            mark.write_text("{")
        case _:
            mark.write_text(part)
    assert not bakery.stamped()


def test_another_generation_since_is_another_answer(bakery: Bakery) -> None:
    store.add_generation(bakery.home, "web", "web-ffffffffffff")
    assert not bakery.stamped()


def test_what_changed_since_the_build_began_is_not_stamped(tmp_path: Path) -> None:
    made = Bakery(tmp_path)
    made.build(began=(tmp_path / "web.yaml").stat().st_ctime_ns)
    assert not made.stamped()
    assert not list(made.home.images.glob("*/stamp-*"))


def test_what_changed_during_the_bake_is_not_stamped(tmp_path: Path) -> None:
    """Also where the clock of its file system is behind, so that its time tells nothing."""
    made = Bakery(tmp_path)
    built = made.build(began=0)
    assert built and not made.stamped()
    seen = stamp.looks(inputs(read(made.spec), made.spec))
    time.sleep(0.02)
    (tmp_path / "pages/index.html").write_text("two")
    stamp.keep(built, made.spec, seen, made.home, time.time_ns() + 2 * stamp.TICK)
    assert not list(made.home.images.glob("*/stamp-*"))


def test_another_copy_of_our_source_looks_for_itself(
    bakery: Bakery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stamp, "PROJECT", tmp_path / "next-release")
    assert not bakery.stamped()


def test_without_a_lock_there_is_nothing_to_stamp(bakery: Bakery) -> None:
    built = stamp.find(bakery.spec, bakery.home)
    [mark] = bakery.home.images.glob("*/stamp-*.json")
    mark.unlink()
    lock_path(bakery.spec).unlink()
    assert built and bakery.build() is None
    seen = stamp.looks(inputs(read(bakery.spec), bakery.spec))
    stamp.keep(built, bakery.spec, seen, bakery.home, time.time_ns() + 2 * stamp.TICK)
    assert not mark.exists()


def test_a_store_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, _: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    made = Bakery(tmp_path)
    monkeypatch.setattr(stamp, "write_whole", refuse)
    assert made.build()
    assert not made.stamped()


def test_a_change_of_our_own_source_counts(
    bakery: Bakery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("specs", "cloudinit/templates", "images/server"):
        (tmp_path / "project" / folder).mkdir(parents=True)
    module = tmp_path / "project/specs/rules.py"
    module.write_text("")
    template = tmp_path / "project/cloudinit/templates/a.j2"
    template.write_text("")
    (tmp_path / "project/requirements.lock").write_text("")
    monkeypatch.setattr(source, "PROJECT", tmp_path / "project")
    for change in (
        lambda: module.write_text("# stricter"),
        lambda: template.with_name("b.j2").touch(),
        (tmp_path / "project/images/server/hand.py").touch,
        lambda: (tmp_path / "project/requirements.lock").write_text("jinja2==4\n"),
    ):
        found = find_existing(read(bakery.spec), bakery.spec, bakery.home)
        built = found or Built(*_newest(bakery), Path(), True, 0.0)
        seen = stamp.looks(inputs(read(bakery.spec), bakery.spec))
        stamp.keep(built, bakery.spec, seen, bakery.home, time.time_ns() + 2 * stamp.TICK)
        assert bakery.stamped()
        time.sleep(0.02)
        change()
        assert not bakery.stamped()


def _newest(bakery: Bakery) -> tuple[store.Image, store.Generation]:
    generation = store.newest(bakery.home, "web")
    assert generation
    image = store.find(bakery.home, generation.image)
    assert image
    return image, generation


_listeners: list[Callable[[str, Any], None]] = []
sys.addaudithook(lambda event, args: [tell(event, args) for tell in _listeners] and None)


@contextmanager
def reads() -> Iterator[set[str]]:
    """The files that are opened and the folders that are listed meanwhile."""
    found: set[str] = set()

    def tell(event: str, args: Any) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], str | Path):
            found.add(str(Path(args[0]).absolute()))

    _listeners.append(tell)
    try:
        yield found
    finally:
        _listeners.remove(tell)


def test_all_that_is_read_is_stamped(bakery: Bakery) -> None:
    source.source_digest.cache_clear()
    source._imports.cache_clear()
    with reads() as read_:
        model = read(bakery.spec)
        prepare(model, bakery.spec, read_lock(bakery.spec))
    stamped = {str(path.absolute()) for path in inputs(model, bakery.spec)}
    ours = (str(bakery.folder), str(source.PROJECT))
    counted = {path for path in read_ if path.startswith(ours)}
    beside = {path for path in counted if "/.venv/" in path or "/__pycache__" in path}
    assert counted - beside - stamped == set()
    assert str(bakery.folder / "pages/deep/a.txt") in counted  # the ear hears
    assert str(source.PROJECT / "images/ovens/local.py") in counted


FILES = "web.yaml modules/site.yaml other/site.yaml pages/index.html pages/new web.lock"
NAMES = st.sampled_from(FILES.split())
EDITS = st.lists(
    st.tuples(NAMES, st.sampled_from(["reverse", "same", "more", "gone", "mtime"])), max_size=6
)


@settings(max_examples=40)
@given(edits=EDITS)
def test_a_stamp_never_says_what_reading_would_not(
    edits: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = Bakery(tmp_path_factory.mktemp("bakery"))
    made.build()
    for name, edit in edits:
        _edit(made.folder / name, edit)
        found = stamp.find(made.spec, made.home)
        try:
            again = made.build()  # stamps anew, when the edits led back to the image
        except BakehouseError:
            again = None
        assert found is None or (again and found.image == again.image)


def _edit(path: Path, edit: str) -> None:
    time.sleep(0.011)  # the clock of a file system may tick as rarely as 100 times a second
    text = path.read_text() if path.exists() else ""
    match edit:
        case "reverse":
            path.write_text(text[::-1])
        case "same":
            path.write_text(text)
        case "more":
            path.write_text(f"{text}\n")
        case "mtime":
            path.touch()
            os.utime(path, ns=(0, 0))
        case _:
            path.unlink(missing_ok=True)


def test_a_build_whose_spec_is_wrong_by_now_says_so(bakery: Bakery) -> None:
    bakery.spec.write_text("name: 1 2\n")
    assert not bakery.stamped()
    with pytest.raises(BakehouseError):
        bakery.build()
