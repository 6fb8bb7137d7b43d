"""How a wrong call and a refusal of the system are told."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from images.calls import Verbs, as_data, main, told_of, wrong_call
from specs.errors import BakehouseError, Place, Problem, SpecError

VERBS = ("validate", "build-image", "plan")
FLAGS = ("--spec", "-s", "--json", "-j")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("No idea what 'validat' is!", "validat: no such verb", "did you mean validate?"),
        ("No idea what 'build_image' is!", "build_image: no such verb", "mean build-image?"),
        ("No idea what 'xyz' is!", "xyz: no such verb", "--list"),
        ("No idea what '--sepc' is!", "--sepc: no such option", "did you mean --spec?"),
        ("No idea what '--xyzw' is!", "--xyzw: no such option", "--help VERB"),
        ("No idea what 'a/b.yaml' is!", "a/b.yaml: not a verb", "--spec a/b.yaml"),
        ("Flag <Argument: spec (s)> needed value!", "--spec: needs a value", "--spec VALUE"),
        ("'diff' did not receive: 'new'!", "'diff' did not receive: 'new'", "--help VERB"),
    ],
)
def test_a_wrong_call_is_told_with_a_next_step(said: str, message: str, hint: str) -> None:
    wrong = wrong_call(said, VERBS, FLAGS)
    assert wrong.message == message
    assert hint in wrong.hint
    assert wrong.exit_code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gc --keep abc", "--keep abc: not a whole number"),
        ("gc --dry-run --keep=abc --json", "--keep abc: not a whole number"),
        ("gc -k 1.5", "-k 1.5: not a whole number"),
        ("promote --until x", "--until x: not a whole number"),
        ("bench --only x --runs x", "--runs x: not a whole number"),
        ("-T x gc", "-T x: not a whole number"),
        ("gc --keep 2 bench --runs x", "--runs x: not a whole number"),
    ],
)
def test_what_is_no_number_is_a_wrong_call(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Verbs(name="Invoke", binary="invoke", version="0")
    with pytest.raises(SystemExit) as ended:
        program.run(["invoke", "--search-root", str(ROOT), *words.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}\n  hint: write ")


def test_what_the_system_refuses_is_told_with_its_file() -> None:
    told = told_of(PermissionError(errno.EACCES, "Permission denied", "/srv/x"))
    assert told.message == "/srv/x: Permission denied"
    assert "rights" in told.hint
    assert told.exit_code == 1
    assert "space" in told_of(OSError(errno.ENOSPC, "No space left on device")).hint


def test_errors_as_data() -> None:
    assert as_data(BakehouseError("m", "h")) == {"ok": False, "error": "m", "hint": "h"}
    problem = Problem(Place("x.yaml", 3, 1), "name", "is missing")
    assert as_data(SpecError((problem,))) == {"ok": False, "problems": [problem.as_data()]}


def test_a_reader_that_has_gone_is_no_error_to_tell(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "argv", ["invoke", "--list"])
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        with pytest.raises(SystemExit) as ended:
            main(ROOT)
    assert ended.value.code == 1
    assert capfd.readouterr().err == ""
