"""What goes wrong at an emulator, on demand."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["refuse", "lose", "down", "fail", "late"]


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests whose method and path fit, after `skip` of them.

    `refuse`: answered with `status` and the vendor's error `code`, nothing done. `lose`: done, but
    the connection ends without an answer. `down`: it ends before anything is done. `fail`: done,
    but each action that it begins ends as failed, with `code`, and without effect. `late`:
    done, and answered after so many seconds.
    """

    kind: Kind
    method: str = ".*"
    path: str = ".*"
    status: int = 500
    code: str = ""
    seconds: float = 0.0
    times: int = 1
    skip: int = 0
    seen: int = 0
    """How many requests it met."""


@dataclass(slots=True)
class Faults:
    """The faults that are still to come."""

    waiting: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> Fault:
        """From now on."""
        with self._lock:
            self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        """All is well again."""
        with self._lock:
            self.waiting.clear()

    def meet(self, method: str, path: str) -> Fault | None:
        """The fault of this request, which thereby happened once."""
        with self._lock:
            for fault in self.waiting:
                if re.fullmatch(fault.method, method) and re.fullmatch(fault.path, path):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    fault.seen += 1
                    if fault.times <= 0:
                        self.waiting.remove(fault)
                    return fault
        return None
