"""Reading what apt prints, and the numbers that accounts keep."""

from pathlib import Path

import pytest

from images import archive
from images.home import Home
from specs.lock import Lock, LockedPackage
from specs.model import Repository, Spec, System, User

SOURCES = (
    archive.Source("debian", "http://mirror.test/debian", "trixie"),
    archive.Source("debian-security", "http://mirror.test/debian-security", "trixie-security"),
)


def package(line: str) -> LockedPackage:
    match = archive.LINE.match(line)
    assert match
    return archive._package(match, SOURCES)


def test_a_line_of_apt_becomes_a_package() -> None:
    sha = "ab" * 32
    assert package(
        "'http://mirror.test/debian-security/pool/u/z/zlib1g_1.3%2b1_amd64.deb' "
        f"zlib1g_1%3a1.3+1_amd64.deb 88720 SHA256:{sha}"
    ) == LockedPackage(
        name="zlib1g",
        version="1:1.3+1",
        architecture="amd64",
        archive="debian-security",
        path="pool/u/z/zlib1g_1.3+1_amd64.deb",
        sha256=sha,
        size=88720,
    )


def test_lines_without_a_sha256_are_no_packages() -> None:
    assert not archive.LINE.match("'http://a/b.deb' b.deb 1 MD5Sum:" + "a" * 32)


def test_sources_are_named_by_the_spec_or_by_their_path(tmp_path: Path) -> None:
    lists = tmp_path / "etc/apt/sources.list.d"
    lists.mkdir(parents=True)
    (tmp_path / "etc/apt/sources.list").write_text(
        "deb http://mirror.test/debian trixie main\ndeb-src http://mirror.test/debian trixie main\n"
        "deb http://other.test/ trixie main\n"
    )
    (lists / "pg.list").write_text("deb [signed-by=/k.asc] http://pg.test/apt trixie-pgdg main\n")
    repository = Repository("pg", "http://pg.test/apt/", "trixie-pgdg", ("main",), "k.asc", "F")
    found = archive._sources(tmp_path, System(repositories=(repository,)))
    assert [(source.name, source.suite) for source in found] == [
        ("debian", "trixie"),
        ("mirror", "trixie"),
        ("pg", "trixie-pgdg"),
    ]


def lock(uids: dict[str, int]) -> Lock:
    return Lock(0, "trixie", "amd64", {}, {}, uids)


def test_people_keep_their_numbers_and_newcomers_get_free_ones() -> None:
    spec = Spec("web", users=(User("anna"), User("carl"), User("dora")))
    kept = archive._kept(lock({"anna": 1001, "bert": 1000, "carl": 1002}), spec)
    assert kept == {"anna": 1001, "carl": 1002, "dora": 1003}


@pytest.mark.parametrize("content", [b"", b"other", None])
def test_a_cache_entry_is_known_by_its_digest(tmp_path: Path, content: bytes | None) -> None:
    home = Home(tmp_path)
    wanted = LockedPackage("a", "1", "all", "debian", "a.deb", "0" * 64, 5)
    file = archive.cached(home, wanted)
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    assert not archive._is_whole(file, wanted)
