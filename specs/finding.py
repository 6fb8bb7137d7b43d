"""An assertion that does not hold."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One assertion that does not hold: at which key, what, and what to do."""

    path: tuple[str | int, ...]
    message: str
    hint: str = ""


def near(word: str, known: Iterable[str], otherwise: str) -> str:
    """A hint that names the known word most like `word`, or says `otherwise`."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise
