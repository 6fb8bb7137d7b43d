"""What comes over the wire, read with care: bodies with a length or in chunks, forms, entries."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any
from urllib.parse import parse_qs

CHUNK = 64 * 1024
LONGEST_TEXT = 4000
LONGEST_NAME = 80
ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


class BadRequestError(Exception):
    """What the client sent cannot be understood; the text says why."""


class TooLargeError(Exception):
    """The body is larger than allowed."""


def body(
    stream: BufferedIOBase, length: str | None, coding: str | None, limit: int
) -> Iterator[bytes]:
    """The body in pieces. `length` and `coding` are the two headers that say where it ends.

    Raises BadRequestError when it ends early or is malformed, TooLargeError beyond `limit` bytes.
    """
    if coding and coding.lower() != "chunked":
        raise BadRequestError(f"transfer coding {coding} is not known")
    size = length or "0"
    if not (size.isascii() and size.isdigit()):
        raise BadRequestError("Content-Length is not a number")
    pieces = _chunked(stream) if coding else _exactly(stream, int(size))
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise TooLargeError(f"more than {limit} bytes")
        yield piece


def _exactly(stream: BufferedIOBase, left: int) -> Iterator[bytes]:
    while left > 0:
        piece = stream.read(min(CHUNK, left))
        if not piece:
            raise BadRequestError("the body ends early")
        left -= len(piece)
        yield piece


def _chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    """RFC 9112, section 7.1; trailers are read and dropped."""
    while True:
        line = stream.readline(1024)
        try:
            size = int(line.split(b";")[0].strip() or b"?", 16)
        except ValueError as error:
            raise BadRequestError("a chunk has no size") from error
        if size < 0:
            raise BadRequestError("a chunk has a negative size")
        if size == 0:
            while stream.readline(8192).strip():
                pass
            return
        yield from _exactly(stream, size)
        if stream.readline(3).strip():
            raise BadRequestError("a chunk is longer than it says")


def entry(content: bytes, kind: str) -> tuple[str, str, str]:
    """Id, name and text of an entry, from JSON or from a form; without an id it gets one."""
    fields: dict[str, Any]
    try:
        if kind.partition(";")[0].strip() == "application/x-www-form-urlencoded":
            pairs = parse_qs(content.decode(), keep_blank_values=True)
            fields = {key: values[0] for key, values in pairs.items()}
        else:
            fields = json.loads(content)
    except ValueError as error:
        raise BadRequestError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadRequestError("not an object with a text")
    id, name, text = (fields.get(key, "") for key in ("id", "name", "text"))
    if not all(isinstance(value, str) and _storable(value) for value in (id, name, text)):
        raise BadRequestError("id, name and text are strings of Unicode characters")
    if id and not ID.fullmatch(id):
        raise BadRequestError("an id is up to 100 letters, digits and . _ : -")
    if not text.strip() or len(text) > LONGEST_TEXT or len(name) > LONGEST_NAME:
        raise BadRequestError(
            f"a text of 1 to {LONGEST_TEXT} characters is wanted, a short name may be"
        )
    return id or uuid.uuid4().hex, name.strip() or "Anonymous", text.strip()


def _storable(text: str) -> bool:
    """Postgres takes neither NUL nor half of a surrogate pair, and JSON can spell both."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)
