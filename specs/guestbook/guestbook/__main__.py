"""`python3 -m guestbook` serves; `python3 -m guestbook release` prepares the database and ends.

Environment: DATABASE_URL (wanted), PORT (8080), FILES (a folder, /data), TITLE (Guestbook),
MAX_UPLOAD (bytes, 1 GiB).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from .entries import Entries
from .files import Files
from .server import Guestbook


def main(words: list[str]) -> int:
    """Serve until SIGTERM, let running requests end, then return."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        print("DATABASE_URL is not set: name the guestbook's database", file=sys.stderr)
        return 2
    entries = Entries(url)
    if words == ["release"]:
        entries.prepare()
        entries.close()
        return 0
    threading.Thread(target=entries.prepare, daemon=True).start()
    server = Guestbook(
        ("", int(os.environ.get("PORT", "8080"))),
        entries,
        Files(Path(os.environ.get("FILES", "/data"))),
        title=os.environ.get("TITLE", "Guestbook"),
        max_upload=int(os.environ.get("MAX_UPLOAD", str(1 << 30))),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    server.drain(patience=25)
    entries.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
