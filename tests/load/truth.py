"""What a server really has, asked past the app and its pooler: from Postgres and the disk."""

from __future__ import annotations

from collections.abc import Callable

from tests.load.ledger import Difference, Written, compare

PSQL = "psql --host=/run/postgresql --username=postgres --no-psqlrc --dbname=guestbook"
ENTRIES = (
    f"""{PSQL} --command="COPY (SELECT id, text FROM entries WHERE name = 'load') TO STDOUT" """
)
FILES = "cd /data/apps/guestbook/uploads && find . -type f ! -name '.*' -exec sha256sum {} +"


def held_against(ledger: list[Written], shell: Callable[[str], str]) -> Difference:
    """Compare the ledger with a server; `shell` runs a line there as root, for its output."""
    return compare(ledger, entries(shell(ENTRIES)), files(shell(FILES)))


def entries(text: str) -> list[tuple[str, str]]:
    """Id and text of each row that the load wrote; its texts have nothing that COPY escapes."""
    found = []
    for line in text.splitlines():
        number, _, words = line.partition("\t")
        found.append((number, words))
    return found


def files(text: str) -> dict[str, str]:
    """The checksum of each file by its name."""
    found = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        found[name.removeprefix("./")] = digest
    return found
