"""Where held requests go, and who was never led here."""

from __future__ import annotations

import asyncio
import socket

import pytest

from images.server import hold


@pytest.mark.parametrize("mode", ["here", "peer"])
@pytest.mark.parametrize("wanted", [19_999, 22, 30_000])
def test_who_meant_no_held_port_is_sent_away(
    monkeypatch: pytest.MonkeyPatch, wanted: int, mode: str
) -> None:
    """19,999 is the holder itself: it would take its own connection, and that one's, and so on."""
    asked: list[object] = []
    monkeypatch.setattr(hold, "meant_for", lambda _: wanted)
    monkeypatch.setattr(hold, "mode", lambda: mode)
    monkeypatch.setattr(asyncio, "open_connection", lambda *words, **_: asked.append(words))
    theirs, ours = socket.socketpair()
    with theirs:
        asyncio.run(hold.join(ours, {20_000}))
        assert theirs.recv(1) == b""
    assert asked == []
