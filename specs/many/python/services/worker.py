"""What the workers share: a task at an interval, until SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def every(seconds: float, task: Callable[[], str]) -> None:
    """Run `task` now and then each time; INTERVAL in the environment overrides `seconds`."""
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    pause = float(os.environ.get("INTERVAL", str(seconds)))
    while True:
        print(task(), flush=True)
        if end.wait(pause):
            return
