"""Reads the public key of an apt repository: just enough OpenPGP (RFC 4880) to know whose it is.

Neither gpg nor its trust is asked. apt gets the very bytes whose fingerprint was checked here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from specs.errors import BakehouseError

PUBLIC_KEY: Final = 6
SECRET: Final = (5, 7)
"""Packet tags (RFC 4880, section 4.3)."""

ARMOR: Final = re.compile(
    rb"-----BEGIN PGP (?P<kind>[A-Z ]+)-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n"
    rb"(?P<body>[A-Za-z0-9+/=\s]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\s*-----END PGP (?P=kind)-----"
)


def trusted(file: Path, fingerprint: str) -> bytes:
    """The key in `file`, as bytes for apt's `signed-by`, when it is the one that is pinned.

    Raises BakehouseError when the file is no public key, holds another key, or one more.
    """
    content = file.read_bytes()
    blocks = [_decoded(block) for block in ARMOR.finditer(content)]
    binary = b"".join(blocks) if blocks else content
    try:
        packets = list(_packets(binary))
    except (IndexError, ValueError):
        packets = []
    if any(tag in SECRET for tag, _ in packets):
        raise BakehouseError(
            f"{file} holds a private key",
            "treat it as leaked; put the repository's public key there instead",
        )
    found = [_fingerprint(body) for tag, body in packets if tag == PUBLIC_KEY]
    if not found or packets[0][0] != PUBLIC_KEY:
        raise BakehouseError(
            f"{file} is not an OpenPGP public key",
            "save the key that the repository publishes there, armored or binary",
        )
    if len(found) > 1:
        raise BakehouseError(
            f"{file} holds {len(found)} keys: {', '.join(found)}",
            f"keep only the pinned one: gpg --export {fingerprint}",
        )
    if found[0] != fingerprint:
        raise BakehouseError(
            f"{file} holds the key {found[0]}, but the spec pins {fingerprint}",
            "find out which of the two the repository's owner publishes before changing either",
        )
    return binary


def _decoded(block: re.Match[bytes]) -> bytes:
    try:
        return base64.b64decode(block["body"])
    except binascii.Error:
        return b""


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet (RFC 4880, section 4.2).

    Raises ValueError or IndexError for what is torn and for partial lengths, which keys never have.
    """
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise ValueError("not a packet")
        at += 1
        if head & 0x40:
            tag, first = head & 0x3F, data[at]
            if first < 192:
                size, at = first, at + 1
            elif first < 224:
                size, at = ((first - 192) << 8) + data[at + 1] + 192, at + 2
            elif first == 255:
                size, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
            else:
                raise ValueError("partial length")
        else:
            tag, kind = (head >> 2) & 0x0F, head & 0x03
            if kind == 3:
                raise ValueError("open length")
            width = 1 << kind
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        body = data[at : at + size]
        if len(body) < size:
            raise ValueError("torn packet")
        at += size
        yield tag, body


def _fingerprint(body: bytes) -> str:
    """Of a version 4 key (RFC 4880, section 12.2); others get one that no spec can pin."""
    if body[:1] != b"\x04":
        return f"of version {body[0] if body else 0}"
    framed = b"\x99" + len(body).to_bytes(2, "big") + body
    return hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper()
