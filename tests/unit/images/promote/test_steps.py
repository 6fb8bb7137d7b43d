"""The table is whole, failures mean what the design says, and losses are accepted word by word."""

from __future__ import annotations

import pytest

from images.promote.blue_lost import Loss, accepted
from images.promote.promote import table
from images.promote.status import place
from images.promote.steps import STEPS, STOPS
from images.promote.watching import per_step, under_way
from specs.model import Strategy


def test_every_step_of_the_design_is_there_in_order() -> None:
    assert [step.number for step in STEPS] == list(range(15))
    assert len({step.name for step in STEPS}) == 15


def test_what_a_failure_means_only_ever_hardens() -> None:
    order = ["stop", "drop", "restored", "forward"]
    meanings = [step.failure for step in STEPS if step.failure != "back"]
    assert meanings == sorted(meanings, key=order.index)
    assert [step.number for step in STEPS if step.failure == "back"] == [13]


@pytest.mark.parametrize("strategy", ["none", "volume"])
def test_where_nothing_is_copied_the_table_is_shorter(strategy: Strategy) -> None:
    steps = table(strategy)
    assert [step.number for step in steps] == [0, 1, 2, 4, 9, 12, 13, 14]
    same = {step.number: step.failure for step in STEPS}
    assert all(step.failure == same[step.number] for step in steps)
    assert [step.name for step in steps[:2]] == ["lease", "preflight"]


def test_a_run_stops_only_where_the_world_stands_still() -> None:
    assert set(STOPS) == set(range(15)) - set(range(3, 11))


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("I accept the loss of 12 seconds", True),
        ("  I accept the loss of 12 seconds\n", True),
        ("I accept the loss of 60 seconds", True),
        ("I accept the loss of 11 seconds", False),
        ("I accept the loss of twelve seconds", False),
        ("I accept the loss", False),
        ("yes", False),
        ("", False),
    ],
)
def test_a_loss_is_accepted_in_words(said: str, good: bool) -> None:
    assert accepted(Loss(12, "hobby-g3-e4"), said) is good


def test_an_unknown_loss_has_its_own_words() -> None:
    loss = Loss(None, "hobby-g3-e4")
    assert accepted(loss, "I accept an unknown loss")
    assert not accepted(loss, "I accept the loss of 99999 seconds")


def test_parts_of_a_step_are_summed() -> None:
    rows = [{"step": "4 hold", "seconds": 0.5}, {"step": "4 workers", "seconds": 1.0}]
    assert per_step([*rows, {"step": "restore", "seconds": 9}]) == {4: 1.5}


def test_places_in_the_log_are_numbers() -> None:
    assert place("16/B374D848") == 0x16B374D848


@pytest.mark.parametrize(
    ("state", "epoch", "role", "so"),
    [
        ("running", 7, 7, True),
        ("swapped", 7, 7, True),  # also when the run that resumes it is the second or third one
        ("stuck", 7, 7, True),
        ("swapped", 3, 6, False),  # it served from 3 on, and follows since 6
        ("restored", 7, 7, False),
        ("none", 0, 4, False),
    ],
)
def test_a_swap_that_others_began_is_known_by_greens_own_record(
    state: str, epoch: int, role: int, so: bool
) -> None:
    assert under_way(state, epoch, role) is so
