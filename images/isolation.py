"""Namespaces: our own, so that the kernel takes away what a killed build leaves, and others'."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import Final, NoReturn

from images.network import NAMESPACES
from images.run import run

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
PR_SET_PDEATHSIG: Final = 1
"""From linux/sched.h and linux/prctl.h."""


def isolate() -> None:
    """Go on in a child with mount and process namespaces of its own; needs root.

    Whatever it mounts, boots or starts ends with it, also when it is killed: the kernel ends every
    process of a process namespace with its first one (pid_namespaces(7)), and a mount namespace
    goes with its last process. This process only waits for the child, hands signals on, and ends
    as the child did. Raises OSError where the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID) != 0:
        raise OSError(ctypes.get_errno(), "cannot make namespaces")
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        _wait(child)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    # A slave's mounts stay its own, and what others unmount is not held here until the end.
    run(["mount", "--make-rslave", "/"])
    run(["mount", "-t", "proc", "proc", "/proc"])


def enter_network(namespace: str) -> None:
    """Go on in a network namespace: this thread, and the threads and processes that it starts.

    Needs root. Raises OSError when there is none of this name.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with (NAMESPACES / namespace).open("rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the network", namespace)


def _stop(_: int, __: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _wait(child: int) -> NoReturn:
    """End as the child ends. A terminal's interrupt reaches both, so that one is not handed on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
