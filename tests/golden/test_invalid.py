"""Each folder of `invalid/` holds a wrong spec and the exact text of what Bakehouse says to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs.errors import BakehouseError, SpecError, UsageError
from specs.read import read

CASES = sorted(path.parent for path in Path(__file__).parent.glob("invalid/*/spec.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_error_says_what_to_do(
    case: Path, monkeypatch: pytest.MonkeyPatch, renew: bool
) -> None:
    monkeypatch.chdir(case)
    with pytest.raises(BakehouseError) as caught:
        read(Path("spec.yaml"))
    assert isinstance(caught.value, SpecError | UsageError)
    expected = case / "expected.txt"
    if renew:
        expected.write_text(f"{caught.value}\n", encoding="utf-8")
    assert f"{caught.value}\n" == expected.read_text(encoding="utf-8")


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 60
