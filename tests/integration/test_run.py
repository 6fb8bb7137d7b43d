"""The door to processes, opened: what an error of a command may show."""

from __future__ import annotations

import pytest

from images.run import CommandError, run


def test_an_error_shows_no_secret_wherever_the_command_printed_it() -> None:
    words = ["sh", "-c", 'echo "out $1"; echo "err $1" >&2; exit 3', "sh", "s3cret"]
    with pytest.raises(CommandError, match="exit code 3") as caught:
        run(words, secrets=["s3cret"])
    assert "s3cret" not in str(caught.value)
    assert "out ****" in caught.value.message and "err ****" in caught.value.message
