"""How a cloud is waited for: pauses that grow, with jitter, up to a limit; all of it injected."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """`patience` is how many seconds one call may take in all; pauses are `first` to `longest`
    seconds, each twice the one before, shortened by up to half by chance, so that two operators
    do not ask in step."""

    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    patience: float = 300.0
    first: float = 0.5
    longest: float = 10.0

    def pauses(self) -> Iterator[int]:
        """Count attempts from 1, with a pause before each but the first, until patience is over."""
        deadline, pause, attempt = self.clock() + self.patience, self.first, 1
        while True:
            yield attempt
            length = pause * (1 - self.chance() / 2)
            if self.clock() + length > deadline:
                return
            self.sleep(length)
            pause = min(pause * 2, self.longest)
            attempt += 1
