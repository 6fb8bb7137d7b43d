"""The operator's own key pair: the one way into servers that hold no password."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from images import ssh
from images.home import Home, sync_folder


def operator_key(home: Home) -> ssh.Key:
    """The key pair in `<home>/operator/`, made when there is none; of two makers one wins.

    Its public half belongs into a server's `boot.yaml`; the private one never leaves the folder.
    """
    if not home.operator.exists():
        home.root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".operator-", dir=home.root))
        ssh.make_key(draft)
        try:
            draft.rename(home.operator)
            sync_folder(home.root)
        except OSError:  # another one was faster: its folder is there, and not empty
            shutil.rmtree(draft)
    return ssh.stored_key(home.operator)
