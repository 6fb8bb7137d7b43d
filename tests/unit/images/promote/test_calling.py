"""What a person says to promote and rollback, and what they are told in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.history import journal
from images.progress import Progress
from images.promote import calling, promote
from images.promote.goal import Goal
from images.promote.job import ACTIVE, STANDBY
from images.promote.runs import Outcome, Run, leased
from images.promote.steps import Probe, Step
from specs.errors import UsageError
from tests.unit.images.promote.placed import NEW, Place, begun, deployed


@pytest.fixture
def site(tmp_path: Path) -> Place:
    return deployed(tmp_path)


@pytest.mark.parametrize(("word", "number"), [("5", 5), ("hobby@5", 5), ("", 0)])
def test_a_generation_is_named_by_its_number_or_with_the_spec(word: str, number: int) -> None:
    assert calling.generation("hobby", word) == number


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("x", "--to x: no generation"),
        ("0", "--to 0: no generation"),
        ("-1", "--to -1: no generation"),
        ("hobby@", "--to hobby@: no generation"),
        ("hobby@x", "--to hobby@x: no generation"),
        ("@5", "--to @5: the spec is that of hobby"),
        ("web@5", "--to web@5: the spec is that of hobby"),
    ],
)
def test_what_names_no_generation_is_a_wrong_call(word: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        calling.generation("hobby", word)
    assert raised.value.message == message
    assert raised.value.hint


def test_a_closed_terminal_accepts_no_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def closed(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", closed)
    assert calling.ask_person("12 s old", "I accept the loss of 12 seconds") == ""
    assert capsys.readouterr().err.endswith("I accept the loss of 12 seconds\n\n")


def steps() -> tuple[Step, ...]:
    """A table whose step 9 is where green takes over."""

    def act(run: Run) -> None:
        """Nothing is left to do."""

    def probe(at: int) -> Step:
        def look(run: Run) -> Probe:
            run.swapped = run.swapped or at == 9
            return Probe(True, "done")

        return Step(at, f"step {at}", look, act, "stop")

    return tuple(probe(at) for at in (0, 2, 9, 12, 14))


@pytest.mark.parametrize(
    ("until", "serves", "told"),
    [
        (0, 1, "stopped after step 0, as asked; `--resume` goes on"),
        (2, 1, "stopped after step 2, as asked: hobby-g2-e7 stands by; `--resume` goes on"),
        (12, 2, "stopped after step 12, as asked; `--resume` goes on"),
    ],
)
def test_a_promote_that_stops_early_says_who_serves(
    site: Place, until: int, serves: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promote, "table", lambda _: steps())
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    if until:
        site.add(2, NEW.id, STANDBY, 7, "following")
    goal = Goal(site.job(), blue.name, begun=7)

    def act() -> Outcome:
        with leased(site, goal.labels()) as (lease, _):
            return promote.swap(begun(site, goal, lease), until)

    ended = calling.recorded(site, "promote", Progress(), act)
    name = blue.name if serves == 1 else "hobby-g2-e7"
    assert (ended.generation, ended.server) == (serves, name)
    assert calling.summary(ended) == f"generation {serves} serves on {name}\n  {told}"
    assert ended.as_data()["stopped_after"] == until
    (deed,) = journal(site.home, "hobby").deeds()
    assert (deed["outcome"], deed["generation"]) == ("stopped", serves)


def test_a_promote_that_ends_did_not_stop(site: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promote, "table", lambda _: steps())
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    site.add(2, NEW.id, STANDBY, 7, "following")
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        ended = promote.swap(begun(site, goal, lease))
    assert "stopped_after" not in ended.as_data()
    assert calling.summary(ended) == "generation 2 serves on hobby-g2-e7"
