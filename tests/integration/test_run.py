"""The door to processes, opened: what an error of a command may show."""

from __future__ import annotations

from typing import IO

import pytest

from images.run import CommandError, TimedOutError, run


def test_an_error_shows_no_secret_wherever_the_command_printed_it() -> None:
    words = ["sh", "-c", 'echo "out $1"; echo "err $1" >&2; exit 3', "sh", "s3cret"]
    with pytest.raises(CommandError, match="exit code 3") as caught:
        run(words, secrets=["s3cret"])
    assert "s3cret" not in str(caught.value)
    assert "out ****" in caught.value.message and "err ****" in caught.value.message


def test_what_takes_too_long_is_ended_with_all_that_it_started() -> None:
    lines: list[str] = []
    words = ["sh", "-c", "echo begun; (sleep 60; echo late) & wait"]
    with pytest.raises(TimedOutError, match=r"no end after 0\.5 s"):
        run(words, on_line=lines.append, timeout=0.5)
    assert lines == ["begun"]
    assert run(["echo", "in time"], on_line=lines.append, timeout=60).stdout == "in time\n"


def test_a_command_is_fed_while_it_reads() -> None:
    def feed(pipe: IO[bytes]) -> None:
        for _ in range(100):
            pipe.write(b"x" * 10_000)

    assert run(["wc", "-c"], stdin=feed).stdout == "1000000\n"
    assert run(["head", "-c", "3"], stdin=feed).stdout == "xxx"


def test_a_feeder_that_fails_is_heard() -> None:
    def feed(pipe: IO[bytes]) -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        run(["cat"], stdin=feed)
