"""A piece of work in namespaces of its own, whose result comes back.

For a run that both bakes and uses the local provider: a bake must end with its namespaces, servers
must not.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

from images.isolation import PR_SET_PDEATHSIG, isolate
from specs.errors import BakehouseError

T = TypeVar("T")


def apart(work: Callable[[], T]) -> T:
    """Call `work` as `isolate` would go on, and return what it returned; needs root.

    It ends with this process, also when that is killed. What it returns is pickled. Raises what it
    raised if that was a BakehouseError, with the same class, message, hint and exit code.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _inside(work, writing, parent)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
    except BaseException:
        os.kill(child, signal.SIGTERM)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if not said:
        code = os.waitstatus_to_exitcode(status)
        raise BakehouseError(f"the work was ended from outside (code {code})", "run it again")
    result = pickle.loads(said)  # noqa: S301  from our own child
    if isinstance(result, _Failed):
        raise result.error()
    done: T = result
    return done


class _Failed:
    """An error on its way: exceptions with arguments of their own do not survive pickling."""

    def __init__(self, error: BakehouseError) -> None:
        self.kind = type(error)
        self.message, self.hint = error.message, error.hint

    def error(self) -> BakehouseError:
        """The error, without the state that only its class knows."""
        found = self.kind.__new__(self.kind)
        BakehouseError.__init__(found, self.message, self.hint)
        return found


def _inside(work: Callable[[], T], writing: int, parent: int) -> None:
    """Ends this process, whatever happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it was killed before we asked to end with it
    code = 1
    try:
        isolate()
        try:
            result: T | _Failed = work()
        except BakehouseError as error:
            result = _Failed(error)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)
