"""Differences in colour on a terminal, plain elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.text import Text

STYLES: Final = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}
"""By the mark that a line begins with."""

FIX: Final = r"CVE-\d+-\d+"


def painted(lines: Iterable[str], *, terminal: bool | None = None) -> str:
    """Lines in the colours of their marks; security fixes stand out.

    `terminal` says what they are for, by default what standard output is.
    """
    console = Console(highlight=False, force_terminal=terminal)
    with console.capture() as captured:
        for line in lines:
            text = Text(line, style=STYLES.get(line.lstrip()[:1], ""))
            text.highlight_regex(FIX, style="bold magenta")
            console.print(text, soft_wrap=True)
    return captured.get().rstrip("\n")
