"""`<spec>.secrets.age`: a YAML mapping of names to texts, encrypted with age, in ASCII armour.

The text inside is kept as its author wrote it, with comments. Errors never repeat any of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyrage

from images.home import write_whole
from images.secrets import keys
from specs import kinds
from specs.errors import Problem, SpecError, UsageError
from specs.load import parse
from specs.node import Node

CA_KEY: Final = "bakehouse.host-ca"
"""The reserved name of the host CA's private key: it signs, and is never delivered."""

RESERVED: Final = (CA_KEY,)


@dataclass(frozen=True, slots=True)
class Vault:
    """An opened secrets file: its text, and the values in it by name."""

    text: str
    values: Mapping[str, str]


def secrets_path(spec_file: Path) -> Path:
    """`specs/hobby.yaml` has its secrets at `specs/hobby.secrets.age`."""
    return spec_file.with_suffix(".secrets.age")


def open_vault(path: Path) -> Vault:
    """Decrypt a secrets file with the first of our keys that fits.

    Raises UsageError when none fits or what is inside is no mapping of names to texts, and
    FileNotFoundError when there is no such file.
    """
    text = _decrypted(path)
    return Vault(text, read_text(text, f"{path} (decrypted)"))


def _decrypted(path: Path) -> str:
    data = path.read_bytes()
    tried = []
    for file in keys.identity_files():
        try:
            return str(pyrage.decrypt(data, keys.identities(file)), "utf-8")
        except UsageError as error:
            tried.append(error.message)
        except pyrage.DecryptError as error:
            if "No matching keys" not in str(error):
                raise UsageError(f"{path} is damaged: {error}", "restore it from git") from error
            tried.append(f"{file} is another one")
    raise UsageError(
        f"{path} is not encrypted to a key of yours: {'; '.join(tried) or 'none was found'}",
        f"set {keys.VARIABLE} to the file of your key, or ask a colleague to add your public key "
        "to `secrets.recipients` and to run `invoke secrets rekey`",
    )


def seal_vault(path: Path, text: str, recipients: Sequence[str]) -> None:
    """Encrypt `text` to `recipients` in the place of what was there, whole or not at all."""
    data = pyrage.encrypt(text.encode(), keys.parsed(recipients), armored=True)
    write_whole(path, data.decode("ascii"))


def read_text(text: str, shown: str) -> dict[str, str]:
    """The values of a decrypted file, which errors call `shown`.

    Raises SpecError with every place that is wrong, and no value.
    """
    if not _content(text):
        return {}
    try:
        root = parse(text, shown)
    except SpecError as error:
        raise SpecError(tuple(_quiet(problem) for problem in error.problems)) from None
    found: dict[str, str] = {}
    problems = []
    assert isinstance(root.value, dict)
    for name, node in root.value.items():
        wrong = _wrong(name, node)
        if wrong:
            problems.append(Problem(root.keys[name], "", *wrong))
        else:
            found[name] = node.text
    if problems:
        raise SpecError(tuple(problems))
    return found


def _content(text: str) -> bool:
    """Whether a text has more than comments and empty lines."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def _wrong(name: str, node: Node) -> tuple[str, str] | None:
    """Message and hint for an entry that is no secret; the name may be a value by mistake."""
    if name not in RESERVED and kinds.SECRET.fault(name):
        return f"a name must be {kinds.SECRET.what.removeprefix('a ')}", kinds.SECRET.hint
    value: Any = node.value
    if isinstance(value, dict | list):
        return "must be text", "indent a text of several lines below `NAME: |`"
    if value is None or not node.text:
        return "is empty", "write its value, or remove the line"
    if "\0" in node.text:
        return "holds a NUL byte", "encode it, for example in Base64"
    return None


def _quiet(problem: Problem) -> Problem:
    """The parser's words may quote what it read, which here is secret."""
    return Problem(
        problem.place, "", "is not valid here", "one `NAME: value` a line, the value in quotes"
    )
