"""What a person does with a secrets file: edit it, list it, encrypt it to other people."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.run import interact
from images.secrets import keys
from images.secrets.memory import memory_folder
from images.secrets.vault import RESERVED, open_vault, read_text, seal_vault, secrets_path
from specs.errors import BakehouseError, SpecError, UsageError
from specs.finding import near
from specs.model import Spec
from specs.needs import needed, of_operator, welcome

EDITORS: Final = ("editor", "nano", "vim", "vi")

START: Final = """\
# Secrets of {name}: one `NAME: value` a line. Comments stay.
#   stripe-key: "sk_live_…"
#   borg_ssh_key: |
#     -----BEGIN OPENSSH PRIVATE KEY-----
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A secret without its value. `source` is `file`, `command`, or "" when it is nowhere."""

    name: str
    source: str
    used_by: tuple[str, ...]

    def line(self) -> str:
        """For a person."""
        users = f"for {', '.join(self.used_by)}" if self.used_by else "used by nothing"
        return f"{self.name:<24} {self.source or 'MISSING':<8} {users}"


def edit(spec: Spec, spec_file: Path, say: Callable[[str], None]) -> bool:
    """Open the secrets in an editor and encrypt what it leaves; False when nothing changed.

    The text lies in memory while it is edited. What is wrong with it is told, and the editor opens
    again if the person wants that. Raises SpecError when it stays wrong; the file is as it was.
    """
    path = secrets_path(spec_file)
    to = keys.recipients(spec)
    keys.parsed(to)
    with _held(path):
        exists = path.exists()
        old = open_vault(path).text if exists else _start(spec)
        with memory_folder() as folder:
            new = _edited(folder / f"{spec.name}.secrets.yaml", old, say)
        if new == old and exists:
            return False
        seal_vault(path, new, to)
    return True


def _start(spec: Spec) -> str:
    """A new file's text: the names that the spec already wants, to be filled in."""
    wanted = {**needed(spec), **of_operator(spec)}
    lines = [f"# {name}:    for {', '.join(users)}" for name, users in wanted.items()]
    return START.format(name=spec.name) + "".join(f"{line}\n" for line in lines)


def _edited(file: Path, text: str, say: Callable[[str], None]) -> str:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    command = editor()
    while True:
        code = interact([*command, str(file)])
        if code != 0:
            raise BakehouseError(
                f"{command[0]} ended with {code}; nothing was changed", "set EDITOR to another one"
            )
        try:
            new = file.read_text(encoding="utf-8")
            read_text(new, file.name)
            return new
        except (SpecError, UnicodeDecodeError) as error:
            wrong = error if isinstance(error, SpecError) else UsageError("the text is not UTF-8")
            if not _again(wrong, say):
                raise wrong from None


def _again(wrong: BakehouseError, say: Callable[[str], None]) -> bool:
    """Whether the person wants to mend it: not who closes the terminal (Ctrl-D); nobody is asked
    where nobody is."""
    if not sys.stdin.isatty():
        return False
    say(str(wrong))
    try:
        return input("edit again? [Y/n] ").strip().lower() not in ("n", "no")
    except EOFError:
        return False


def editor() -> list[str]:
    """The person's editor, as words. Raises UsageError when there is none."""
    for variable in ("VISUAL", "EDITOR"):
        words = shlex.split(os.environ.get(variable, ""))
        if words:
            return words
    for name in EDITORS:
        if shutil.which(name):
            return [name]
    raise UsageError("there is no editor", "set EDITOR to the one that you use")


def entries(spec: Spec, spec_file: Path) -> list[Entry]:
    """Every secret that the spec needs or that the file holds, by name."""
    path = secrets_path(spec_file)
    inside = set(open_vault(path).values) if path.exists() else set()
    wanted = {**needed(spec), **of_operator(spec)}
    readers = {**welcome(spec), **wanted, **dict.fromkeys(RESERVED, ("host keys",))}
    names = sorted({*wanted, *inside, *spec.secrets.sources})
    return [
        Entry(
            name,
            "command" if name in spec.secrets.sources else "file" if name in inside else "",
            readers.get(name, ()),
        )
        for name in names
    ]


def hints(found: list[Entry]) -> list[str]:
    """For each missing secret the nearest unused one of the file: it may be the same, misspelt."""
    unused = [entry.name for entry in found if not entry.used_by]
    missing = [entry.name for entry in found if not entry.source]
    pairs = [(name, near(name, unused, "")) for name in missing]
    return [f"{name} is missing: {hint}" for name, hint in pairs if hint]


def rekey(spec: Spec, spec_file: Path) -> tuple[str, ...]:
    """Encrypt the file anew to the recipients of the spec, and return them.

    Whoever is no recipient any more still has what they once read: change those values, too.
    Raises UsageError when there is no file.
    """
    path = secrets_path(spec_file)
    to = keys.recipients(spec)
    if not path.exists():
        hint = f"run `invoke secrets edit --spec {spec_file}`"
        raise UsageError(f"there is no {path} yet", hint)
    with _held(path):
        seal_vault(path, open_vault(path).text, to)
    return to


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """One at a time: the last one to save would undo the other's changes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BakehouseError(
                f"{path} is being changed by somebody else", "wait until they are done"
            ) from None
        yield
    finally:
        os.close(folder)
