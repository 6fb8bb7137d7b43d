"""The SSH configuration of a machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images.ssh import Key, config_text


@pytest.mark.parametrize(("length", "shared"), [(86, True), (87, False), (250, False)])
def test_a_connection_is_shared_where_its_socket_has_room(length: int, shared: bool) -> None:
    """107 bytes, of which `ssh` takes 17 for a name of its own while it makes the socket."""
    folder = Path("/" + "ü" * 20 + "x" * (length - 41))
    assert len(os.fsencode(folder)) == length
    text = config_text(folder, "192.0.2.1", 22, "admin", Key(folder / "key", "ssh-ed25519 AAAA"))
    assert (f"ControlPath {folder}/mux\n" in text) is shared
    assert ("ControlMaster" in text) is shared
    assert text.count("\n\n") == 0
