"""The operator's own key pair: the one way into servers that hold no password."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from images import ssh
from images.home import Home, sync_folder
from specs.errors import UsageError

GIVEN: Final = "BAKEHOUSE_OPERATOR_KEY"
"""The variable by which a machine that keeps nothing gets the private key: the text of its file, or
that in base64, which is one line."""


def operator_key(home: Home, *, make: bool = True) -> ssh.Key:
    """The key pair in `<home>/operator/`, taken from `GIVEN` or made when there is none; of two
    makers one wins.

    Its public half belongs into a server's `boot.yaml`; the private one never leaves the folder.
    Raises UsageError when what is given is no private key, or another one than is there, and, for
    a server that stands already (not `make`), when there is neither.
    """
    given = os.environ.get(GIVEN, "").strip()
    if home.operator.exists():
        _refuse_another(home.operator / "key", given)
    else:
        if not (given or make):
            raise UsageError(
                f"{home.operator} has no key, and so this machine opens no server that another one "
                "made",
                f"bring that folder from the machine that did, or set {GIVEN}",
            )
        home.root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".operator-", dir=home.root))
        try:
            if given:
                ssh.keep_key(draft, _text(given))
            else:
                ssh.make_key(draft)
        except BaseException:
            shutil.rmtree(draft)
            raise
        try:
            draft.rename(home.operator)
            sync_folder(home.root)
        except OSError:  # another one was faster: its folder is there, and not empty
            shutil.rmtree(draft)
    return ssh.stored_key(home.operator)


def _refuse_another(private: Path, given: str) -> None:
    if given and _text(given).split() != private.read_text(encoding="utf-8").split():
        raise UsageError(
            f"{GIVEN} is another key than {private}",
            f"unset it, or move {private.parent} away to use it",
        )


def _text(given: str) -> str:
    if given.startswith("-----BEGIN"):
        return given
    try:
        return base64.b64decode(given, validate=True).decode()
    except ValueError:  # what it is then, ssh-keygen tells
        return given
