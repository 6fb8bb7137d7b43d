"""Options that verbs share, and the words that help with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from images import calls

SPEC: Final = os.path.relpath(Path(__file__).parents[1] / "specs/hobby.yaml")
HELP: Final = {
    "spec": f"the spec file (default: {SPEC})",
    "store": "where images and caches are kept (default: $BAKEHOUSE_HOME, else the user's data)",
    "json": "print the result as JSON, on the last line of standard output",
    "provider": "where the servers run (default: deploy.provider of the spec, else local)",
}
IMAGE_HELP: Final = "an image id or <spec>@<generation> (default: the newest generation of --spec)"


def verb(*words: str, **more: str) -> Callable[[Callable[..., None]], Any]:
    """A verb of the command line: `words` are the options whose help is the common one."""
    return calls.verb({word: HELP[word] for word in words} | more)
