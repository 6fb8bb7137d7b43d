"""That the comparison finds what it looks for, and what figures mean."""

import json
from pathlib import Path

import pytest

from tests.load import truth
from tests.load.ledger import (
    LEDGER,
    Books,
    Difference,
    Request,
    Window,
    Written,
    acknowledgements,
    compare,
    counts,
    during,
    longest,
    pause,
    read_ledger,
    read_requests,
)

LEDGER_OF_THREE = (
    Written("entry", "load 1", "a"),
    Written("entry", "load 2", "b"),
    Written("file", "f", "0" * 64),
)
ROWS = [("a", "load 1"), ("b", "load 2")]
FILES = {"f": "0" * 64}


def request(kind: str = "write", at: float = 0, seconds: float = 0.1, error: str = "") -> Request:
    return Request(kind, "new", 4, at, seconds, 0 if error else 200, error)


def test_all_as_acknowledged() -> None:
    assert compare(LEDGER_OF_THREE, ROWS, FILES) == Difference((), (), ())


def test_lost() -> None:
    assert compare(LEDGER_OF_THREE, ROWS[:1], {}).lost == ("load 2", "f")


def test_doubled() -> None:
    """Also a row that nobody was told of twice: one of the two came by itself."""
    found = compare(LEDGER_OF_THREE, [*ROWS, ("c", "load 2"), ("d", "x"), ("e", "x")], FILES)
    assert found == Difference((), ("load 2", "x"), ())


def test_altered() -> None:
    rows = [("a", "load 1"), ("z", "load 2")]
    assert compare(LEDGER_OF_THREE, rows, {"f": "1" * 64}).altered == ("load 2", "f")


def test_a_row_whose_answer_was_cut_is_no_fault() -> None:
    assert compare(LEDGER_OF_THREE, [*ROWS, ("c", "load 3")], FILES) == Difference((), (), ())


def test_what_a_server_prints_is_read() -> None:
    printed = {
        truth.ENTRIES: "a\tload 1\nb\tload 2\n",
        truth.FILES: f"{'0' * 64}  ./f\n{'1' * 64}  ./another name\n",
    }
    found = truth.held_against(list(LEDGER_OF_THREE), printed.__getitem__)
    assert found == Difference((), (), ())
    assert truth.files(printed[truth.FILES])["another name"] == "1" * 64


@pytest.mark.parametrize(
    ("acknowledged", "expected"),
    [
        ([0.0, 1.0, 1.5, 4.0, 9.0], 2.5),  # the gap from 4 to 9 begins when all is over
        ([0.5, 1.5, 2.0, 2.5, 3.0], 1.0),  # one that reaches into the window counts whole
        ([0.5, 10.0], 9.5),
        ([], 2.0),
        ([20.0, 21.0], 2.0),
    ],
)
def test_the_pause_is_the_longest_gap_in_the_window(
    acknowledged: list[float], expected: float
) -> None:
    assert pause(acknowledged, Window("promote", 1.0, 3.0)) == pytest.approx(expected)


def test_only_acknowledged_entries_end_a_pause() -> None:
    told = [request(at=2), request(at=1), request("file"), request(at=3, error="cut")]
    assert acknowledgements(told) == [1.1, 2.1]


def test_slow_transfers_are_not_the_longest_request() -> None:
    told = [request("download", seconds=10), request("upload", seconds=11), request(seconds=0.3)]
    assert longest(told).seconds == 0.3
    assert longest([*told, request("read", seconds=60, error="no end")]).seconds == 60


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (0.0, 0.9, ""),
        (1.05, 1.15, "5 pause 0.20"),
        (1.15, 1.25, "5 pause 0.20, 6 stop 0.10"),
        (0.0, 9.0, "4 hold 0.05, 5 pause 0.20, 6 stop 0.10"),
    ],
)
def test_steps_that_ran_in_a_gap_are_named(begin: float, end: float, expected: str) -> None:
    steps = [
        {"step": "4 hold", "what": "done", "mono": 1.0, "seconds": 0.05},
        {"step": "5 pause", "what": "begin", "mono": 1.0},
        {"step": "5 pause", "what": "done", "mono": 1.2, "seconds": 0.2},
        {"step": "6 stop", "what": "done", "mono": 1.3, "seconds": 0.1},
        {"step": "9 release", "what": "done", "mono": 1.3, "seconds": 0.0001},
    ]
    assert during(steps, begin, end) == expected


def test_failed_and_cut_are_apart() -> None:
    told = [
        request(),
        request("read", error="404: "),
        request("download", error="cut in the body"),
        request("upload", error="no answer"),
        request("idle", error="closed while idle"),
    ]
    found = counts(told)
    assert (found["requests"], found["failed"], found["cut"]) == (5, 1, 3)
    assert found["by_status"] == {"200": 1, "none": 4}
    assert found["errors"]["read: 404: "] == 1


def test_the_books_can_be_read_while_they_are_written(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.request(request())
    books.written(LEDGER_OF_THREE[0])
    with (tmp_path / LEDGER).open("a") as file:
        file.write(json.dumps({"kind": "entry"})[:-1])
    assert read_requests(tmp_path) == [request()]
    assert read_ledger(tmp_path) == [LEDGER_OF_THREE[0]]
    books.close()
