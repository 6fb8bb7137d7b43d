"""The guestbook's own parts that need no database."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from specs.guestbook.guestbook.files import BadNameError, Files
from specs.guestbook.guestbook.page import page
from specs.guestbook.guestbook.wire import BadRequestError, TooLargeError, body, entry

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Shown:
    name: str
    text: str
    at: datetime = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def read(content: bytes, length: str | None = None, coding: str | None = None) -> bytes:
    return b"".join(body(io.BytesIO(content), length, coding, 100))


def test_body_with_a_length_ends_there() -> None:
    assert read(b"hello, next request", "5") == b"hello"
    assert read(b"next request") == b""


def test_body_in_chunks() -> None:
    stream = io.BytesIO(b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\nnext")
    assert b"".join(body(stream, None, "Chunked", 100)) == b"hello!"
    assert stream.read() == b"next"


@pytest.mark.parametrize(
    ("content", "length", "coding"),
    [
        (b"hell", "5", None),
        (b"", "five", None),
        (b"", "-1", None),
        (b"", "\N{SUPERSCRIPT TWO}", None),
        (b"", None, "gzip"),
        (b"zz\r\n", None, "chunked"),
        (b"-5\r\nhello", None, "chunked"),
        (b"2\r\nhello\r\n0\r\n\r\n", None, "chunked"),
        (b"5\r\nhel", None, "chunked"),
        (b"", None, "chunked"),
    ],
)
def test_body_that_is_malformed(content: bytes, length: str | None, coding: str | None) -> None:
    with pytest.raises(BadRequestError):
        read(content, length, coding)


@pytest.mark.parametrize(
    ("content", "length", "coding"),
    [(b"x" * 101, "101", None), (b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n", None, "chunked")],
)
def test_body_beyond_the_limit(content: bytes, length: str | None, coding: str | None) -> None:
    with pytest.raises(TooLargeError):
        read(content, length, coding)


def test_entry_keeps_the_id_that_its_writer_chose() -> None:
    assert entry(b'{"id": "a-1", "name": " Ann ", "text": " hi "}', JSON) == ("a-1", "Ann", "hi")
    assert entry(b"id=a-1&name=&text=h%C3%A9", f"{FORM}; charset=utf-8") == (
        "a-1",
        "Anonymous",
        "h\N{LATIN SMALL LETTER E WITH ACUTE}",
    )


def test_entry_without_an_id_gets_one() -> None:
    first, second = (entry(b'{"text": "x"}', JSON)[0] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"null", b"\xff", b'{"text": 1}', b'{"text": " "}', b'{"name": "x"}'),
        *(b'{"text": "\\u0000"}', b'{"text": "\\ud800"}', b'{"id": "a b", "text": "x"}'),
        b'{"text": "' + b"x" * 4001 + b'"}',
    ],
)
def test_entry_that_is_none(content: bytes) -> None:
    with pytest.raises(BadRequestError):
        entry(content, JSON)


def test_file_is_stored_with_its_checksum(tmp_path: Path) -> None:
    stored = Files(tmp_path).put("a.txt", [b"hello ", b"world"])
    assert (tmp_path / "a.txt").read_bytes() == b"hello world"
    assert stored.size == 11
    assert stored.sha256 == hashlib.sha256(b"hello world").hexdigest()
    assert Files(tmp_path).names() == ["a.txt"]


def test_file_that_breaks_off_leaves_the_old_one(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.put("a.txt", [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise BadRequestError("the body ends early")

    with pytest.raises(BadRequestError):
        files.put("a.txt", broken())
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\0", "x" * 101, "\n"])
def test_file_with_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadNameError):
        Files(tmp_path).path(name)


def test_page_shows_words_and_runs_none() -> None:
    html = page("<Guests>", [Shown("<i>Ann</i>", "<script>alert(1)</script>")], 1, ["a.txt"], "1")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;i&gt;Ann&lt;/i&gt;, 02 January 2026, 03:04" in html
    assert "<title>&lt;Guests&gt;</title>" in html
    assert "1 entry so far" in html
    assert '<a href="/files/a.txt">' in html


def test_page_of_an_empty_book() -> None:
    assert "Nobody has signed yet" in page("Guests", [], 0, [], "1")
