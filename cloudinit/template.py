"""Jinja2 with no forgiveness: a missing variable is an error, never an empty string."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  these are configuration files, not HTML
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment


def render(name: str, **values: object) -> str:
    """The template `templates/<name>` filled with `values`.

    Filters beside Jinja's own: `sh` quotes a word for a shell, `json` writes a JSON value.
    Raises jinja2.UndefinedError when the template names something that is not given.
    """
    return _environment().get_template(name).render(**values)
