"""The line to the other server's hand, over a process that answers, refuses, dies, is silent."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from images.server.asking import Line, LostError, RefusedError

HAND = """
import json, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "die":
        sys.exit(3)
    if asked["do"] == "sleep":
        time.sleep(asked["seconds"])
    if asked["do"] == "babble":
        print("no JSON", flush=True)
    answer = {"ok": asked["do"] != "refuse", "asked": asked}
    print(json.dumps(answer)[:20], end="", flush=True)
    print(json.dumps(answer)[20:], flush=True)
"""


@pytest.fixture
def line() -> Iterator[Line]:
    found = Line(7, [sys.executable, "-c", HAND])
    yield found
    found.close()


def test_a_question_carries_its_epoch_and_is_answered(line: Line) -> None:
    assert line.ask("hello", size=2)["asked"] == {"do": "hello", "epoch": 7, "size": 2}
    process = line.process
    assert line.ask("again")["ok"] is True
    assert line.process is process


def test_a_no_is_told_apart_from_silence_and_keeps_the_line(line: Line) -> None:
    with pytest.raises(RefusedError, match="refuse"):
        line.ask("refuse")
    process = line.process
    line.ask("hello")
    assert line.process is process


def test_a_late_answer_is_never_taken_for_another_ones(line: Line) -> None:
    with pytest.raises(LostError, match="too late"):
        line.ask("sleep", limit=0.2, seconds=0.5)
    assert line.process is None
    assert line.ask("hello")["asked"]["do"] == "hello"


@pytest.mark.parametrize("do", ["die", "babble"])
def test_a_line_that_breaks_is_opened_again(line: Line, do: str) -> None:
    line.ask("hello")
    with pytest.raises(LostError):
        line.ask(do)
    assert line.ask("hello")["asked"]["do"] == "hello"
