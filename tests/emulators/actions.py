"""Work that an API begins and its client asks about until it is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.emulators.served import Refusal

Work = Callable[[], object]


@dataclass(slots=True)
class Action:
    """One piece of work. It counts as done when its work ended and `delay` seconds have passed.

    `error` is the vendor's code and message, `about` what the vendor tells of what it is about.
    """

    id: int
    command: str
    about: Any
    delay: float
    began: float
    started: datetime
    ended: bool = False
    error: tuple[str, str] | None = None
    finished: datetime | None = None
    work: threading.Thread | None = None

    def over(self, now: float) -> bool:
        """Whether it is done, well or not."""
        return self.ended and now - self.began >= self.delay


@dataclass(slots=True)
class Actions:
    """All actions of an emulator; `delay` is how many seconds each one takes at least."""

    delay: float = 0.0
    clock: Callable[[], float] = time.monotonic
    known: dict[int, Action] = field(default_factory=dict)
    failing: str = ""
    """While a `fail` fault is met: the code with which what is begun now ends."""
    _last: dict[object, Action] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(
        self,
        command: str,
        about: Any,
        work: Work | None = None,
        *,
        on: object = None,
        after: Sequence[Action] = (),
        done: Work | None = None,
        message: str = "it failed",
    ) -> Action:
        """Begin it; `work` runs in a thread, after the actions `after`, and `done` when it is over.

        What a `work` raises makes the action fail. `on` is the thing that is busy meanwhile, for
        `busy`.
        """
        with self._lock:
            number = len(self.known) + 1
            action = Action(number, command, about, self.delay, self.clock(), datetime.now(UTC))
            self.known[number] = action
            if on is not None:
                self._last[on] = action
        if self.failing:
            action.error = (self.failing, message)
            work = None
        if work is None and not after:
            self._end(action, done)
            return action
        action.work = threading.Thread(target=self._run, args=(action, work, after, done))
        action.work.start()
        return action

    def busy(self, on: object) -> bool:
        """Whether the newest action on a thing runs still."""
        last = self._last.get(on)
        return last is not None and not last.over(self.clock())

    def get(self, number: int) -> Action:
        """One of them; what there is not is refused with 404."""
        if number not in self.known:
            raise Refusal(404, "not_found", f"action with ID '{number}' not found")
        return self.known[number]

    def await_all(self) -> None:
        """Wait until no work runs."""
        for action in list(self.known.values()):
            if action.work is not None:
                action.work.join()

    def _run(
        self, action: Action, work: Work | None, after: Sequence[Action], done: Work | None
    ) -> None:
        for other in after:
            if other.work is not None:
                other.work.join()
            if other.error is not None:
                action.error = other.error
        if work is not None and action.error is None:
            try:
                work()
            except Refusal as refused:
                action.error = (refused.code, refused.message)
            except Exception as error:
                action.error = ("server_error", f"{type(error).__name__}: {error}")
        self._end(action, done)

    def _end(self, action: Action, done: Work | None) -> None:
        if done is not None and action.error is None:
            done()
        action.finished = datetime.now(UTC)
        action.ended = True


def labels_of(query: Mapping[str, Sequence[str]], key: str = "label_selector") -> dict[str, str]:
    """The `key=value` pairs of a selector; other operators are not spoken here."""
    text = ",".join(query.get(key, ()))
    pairs = [word.partition("=") for word in text.split(",") if word]
    return {name.strip(): value.removeprefix("=").strip() for name, _, value in pairs}
