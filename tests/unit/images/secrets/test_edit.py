"""Who is asked whether to edit again, and closes the terminal, does not want to."""

from __future__ import annotations

import pytest

from images.secrets import edit
from specs.errors import UsageError


@pytest.mark.parametrize(
    ("answer", "again"), [("", True), ("y", True), ("No", False), (None, False)]
)
def test_edit_again(answer: str | None, again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """None: the end of the input, as by Ctrl-D."""

    def said(_: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", said)
    told: list[str] = []
    assert edit._again(UsageError("the text is not UTF-8"), told.append) is again
    assert told[0] == "the text is not UTF-8"
