"""The line to the other server's hand, over a process that answers, refuses, dies, is silent."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

import pytest

from images.server import hand
from images.server.asking import UNKNOWN, Line, LostError, RefusedError, UnknownError

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
    if asked["do"] == "news":
        answer = {"ok": False, "error": "no such verb: " + line.strip()}
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


def test_a_question_of_a_newer_version_is_not_known_and_no_more(line: Line) -> None:
    assert line.ask_if_known("news") is None
    assert line.ask_if_known("hello") == line.ask("hello")
    with pytest.raises(UnknownError):
        line.ask("news")
    with pytest.raises(RefusedError, match="refuse"):
        line.ask_if_known("refuse")


def test_our_own_hand_says_so_in_these_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"do": "news", "epoch": 1}\n'))
    monkeypatch.delenv("SSH_ORIGINAL_COMMAND", raising=False)
    told = io.StringIO()
    with redirect_stdout(told):
        hand.main()
    assert json.loads(told.getvalue())["error"].startswith(UNKNOWN)
