"""Notices by Apprise: one short message to every URL that the spec's `notify` names.

The URLs are secrets: a notice is known by the secret's name, and no word of Apprise that could hold
a part of a URL is repeated.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import apprise
from apprise.logger import LogCapture

from images.run import masked
from images.secrets.gather import lookup
from specs.errors import BakehouseError
from specs.model import Event, Spec

KINDS: Final[Mapping[Event, apprise.NotifyType]] = {
    "nothing-to-do": apprise.NotifyType.INFO,
    "staged": apprise.NotifyType.INFO,
    "promoted": apprise.NotifyType.SUCCESS,
    "refused": apprise.NotifyType.WARNING,
    "rolled-back": apprise.NotifyType.WARNING,
    "alarm": apprise.NotifyType.WARNING,
    "failed": apprise.NotifyType.FAILURE,
}
"""How services that show it colour a message."""

PART: Final = 4
"""Characters from which on a part of a URL is worth hiding."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of one message. `to` is the name of the secret, `why` the reason if it failed."""

    to: str
    delivered: bool
    why: str = ""

    def as_data(self) -> dict[str, Any]:
        """For the journal and `--json`."""
        return asdict(self)


def tell(spec: Spec, spec_file: Path, event: Event, message: str) -> tuple[Notice, ...]:
    """Send a message, whose first line becomes its title, to everyone who wants this event told.

    Raises nothing: what cannot be delivered is in the answer.
    """
    if event not in spec.notify.events:
        return ()
    return tuple(_tell(spec, spec_file, name, event, message) for name in spec.notify.urls)


def _tell(spec: Spec, spec_file: Path, name: str, event: Event, message: str) -> Notice:
    try:
        why = deliver(lookup(spec, spec_file, name, "notify"), event, message)
    except (BakehouseError, OSError) as error:
        why = error.message if isinstance(error, BakehouseError) else str(error.strerror or error)
    return Notice(name, not why, why)


def deliver(url: str, event: Event, message: str) -> str:
    """Send a message to one URL; why it could not be, or "" when it was."""
    title, _, body = message.partition("\n")
    # Apprise tells why a message failed in its log only, and LogCapture has no types.
    capture = LogCapture(level=logging.WARNING, fmt="%(message)s")  # type: ignore[no-untyped-call]
    try:
        with capture as heard:
            service = apprise.Apprise.instantiate(url.strip())
            if service is None:
                return "its value is no URL that Apprise knows"
            text = body.strip() or title
            sent = service.notify(title=title, body=text, notify_type=KINDS[event])
            said = heard.getvalue().strip().splitlines()
    except Exception as error:
        return f"Apprise failed with {type(error).__name__}"
    if sent:
        return ""
    return masked(said[-1], parts(url)) if said else "the service did not take it"


def parts(url: str) -> list[str]:
    """The parts of a URL that a log may quote, longest first; its scheme is none."""
    rest = url.partition("://")[2]
    found = {piece for piece in re.split(r"[/:@?&=,#]+", rest) if len(piece) >= PART}
    found |= {unquote(piece) for piece in found}
    return sorted(found, key=len, reverse=True)
