"""The walls that `conftest` puts around unit tests hold."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    "reach",
    [
        lambda: subprocess.run(["true"], check=True),
        lambda: os.system("true"),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        lambda: socket.socket(socket.AF_INET6).bind(("::1", 0)),
    ],
    ids=["run", "system", "spawn", "connect", "bind"],
)
def test_reaching_out_raises(reach: Callable[[], object]) -> None:
    with pytest.raises(BaseException, match="a unit test is pure"):
        reach()


def test_local_sockets_are_no_network() -> None:
    one, two = socket.socketpair()
    with one, two:
        one.sendall(b"x")
        assert two.recv(1) == b"x"
