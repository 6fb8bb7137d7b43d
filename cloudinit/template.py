"""Jinja2 with no forgiveness: a missing variable is an error, never an empty string."""

from __future__ import annotations

import hashlib
import json
import shlex
from contextlib import suppress
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

FOLDER = Path(__file__).parent / "templates"


class _Compiled(FileSystemBytecodeCache):
    """Compiled templates beside their sources, as Python keeps modules; where it may not, none.

    Jinja knows them by their text; what else shapes them is in this file, hence its digest.
    """

    def __init__(self, folder: Path) -> None:
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
        ours = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
        super().__init__(str(folder), f"%s-{ours}")

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)


@cache
def environment(folder: Path = FOLDER) -> Environment:
    """Jinja with our rules and filters, for the templates in `folder`."""
    jinja = Environment(
        loader=FileSystemLoader(folder),
        bytecode_cache=_Compiled(folder / "__pycache__"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  these are configuration files, not HTML
    )
    jinja.filters["sh"] = lambda value: shlex.quote(str(value))
    jinja.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return jinja


def render(name: str, **values: object) -> str:
    """The template `templates/<name>` filled with `values`.

    Filters beside Jinja's own: `sh` quotes a word for a shell, `json` writes a JSON value.
    Raises jinja2.UndefinedError when the template names something that is not given.
    """
    return environment().get_template(name).render(**values)
