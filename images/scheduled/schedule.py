"""The schedule: units, a crontab or workflows that start `invoke rebuild`, put in place or away.

The files are text made from `templates/`; nothing secret is in them: tokens come from the
environment, from the runner's secrets, or by OIDC.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from images.home import find_home, write_whole
from images.providers.keys import GIVEN
from images.run import run
from specs.errors import BakehouseError, UsageError
from specs.lock import lock_path
from specs.model import Spec
from specs.timing import parse_when

Kind = Literal["systemd", "cron", "github-actions", "gitlab-ci"]
KINDS: Final[tuple[Kind, ...]] = ("systemd", "cron", "github-actions", "gitlab-ci")
INSTALLED: Final[tuple[Kind, ...]] = ("systemd", "cron")

PROJECT: Final = Path(__file__).parents[2]
OF_A_SERVER: Final = "etc/bakehouse/server.json"
"""What every server of ours has."""

TOKENS: Final[Mapping[str, tuple[str, ...]]] = {
    "local": (),
    "hetzner": ("HCLOUD_TOKEN",),
    "digitalocean": ("DIGITALOCEAN_TOKEN",),
}
"""Environment variables by which a provider knows us."""

SPREAD: Final = 60
"""Minutes over which servers are spread, by their names."""

ODD: Final = set("%\\\"'`$ \t\n")
"""What one of cron, systemd and sh would not read as itself in a path."""

_templates: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701  these are no web pages
    keep_trailing_newline=True,
    trim_blocks=True,
    variable_start_string="<<",
    variable_end_string=">>",
    block_start_string="<%",
    block_end_string="%>",
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The files of a schedule by their path: below `/` for systemd and cron, else below the
    repository's top."""

    kind: Kind
    name: str
    files: Mapping[Path, str]


def schedule(spec: Spec, spec_file: Path, kind: str) -> Schedule:
    """The schedule of a spec's scheduled runs. Raises UsageError for an unknown kind, and for a
    spec outside of the repository where a workflow needs it inside."""
    if kind not in KINDS:
        raise UsageError(f"--with {kind}: no such scheduler", f"use {', '.join(KINDS)}")
    known: Kind = next(one for one in KINDS if one == kind)
    values = _of_machine(spec_file) if known in INSTALLED else _of_repository(spec_file)
    values |= _of_spec(spec)
    found = {
        Path(path): _templates.get_template(template).render(values, file=path)
        for path, template in _places(known, spec.name).items()
    }
    return Schedule(known, spec.name, found)


def _places(kind: Kind, name: str) -> dict[str, str]:
    """Templates by the path of the file that each becomes."""
    match kind:
        case "systemd":
            unit = f"etc/systemd/system/bakehouse-rebuild-{name}"
            return {
                f"{unit}.service": "systemd.service.j2",
                f"{unit}.timer": "systemd.timer.j2",
            }
        case "cron":
            return {f"etc/cron.d/bakehouse-rebuild-{name}": "cron.j2"}
        case "github-actions":
            return {
                f".github/workflows/rebuild-{name}.yml": "github-rebuild.yml.j2",
                f".github/workflows/plan-{name}.yml": "github-plan.yml.j2",
            }
        case "gitlab-ci":
            return {f".gitlab/bakehouse-{name}.yml": "gitlab.yml.j2"}


def _of_spec(spec: Spec) -> dict[str, object]:
    when = parse_when(spec.rebuild.schedule)
    minute = int(hashlib.sha256(spec.name.encode()).hexdigest(), 16) % SPREAD
    tokens = TOKENS[spec.deploy.provider]
    return {
        "name": spec.name,
        "when": spec.rebuild.schedule,
        "calendar": when.calendar(),
        "cron": when.cron(later=minute),
        "minute": minute,
        "tokens": tokens,
        "preserved": ",".join(("BAKEHOUSE_HOME", "BAKEHOUSE_AGE_IDENTITY", GIVEN, *tokens)),
        "variables": ", ".join((*tokens, "BAKEHOUSE_AGE_KEY", GIVEN)),
        "key": GIVEN,
        "runner": "self-hosted" if spec.deploy.provider == "local" else "ubuntu-latest",
        "environment": f"/etc/bakehouse/rebuild-{spec.name}.env",
    }


def _of_machine(spec_file: Path) -> dict[str, object]:
    """Absolute paths; `home` is None where BAKEHOUSE_HOME is not set. Raises UsageError for a path
    that a scheduler would take apart."""
    spec, command = spec_file.resolve(), PROJECT / "bootstrap"
    home = find_home().root if os.environ.get("BAKEHOUSE_HOME") else None
    for path in (spec, command, *([home] if home else [])):
        odd = ODD & set(str(path))
        if odd:
            raise UsageError(f"{path} cannot be scheduled: it holds {min(odd)!r}", "rename it")
    return {"root": PROJECT, "spec": spec, "command": command, "home": home}


def _of_repository(spec_file: Path) -> dict[str, object]:
    """Paths from the repository's top."""
    spec = spec_file.resolve()
    if not spec.is_relative_to(PROJECT):
        raise UsageError(
            f"{spec_file} is outside of {PROJECT}", "a workflow needs the spec in its repository"
        )
    inside = spec.relative_to(PROJECT)
    folder = inside.parent.as_posix()
    return {
        "spec": shlex.quote(inside.as_posix()),
        "lock": shlex.quote(lock_path(inside).as_posix()),
        "watched": "**" if folder == "." else f"{folder}/**",
    }


def write(found: Schedule, out: Path) -> list[Path]:
    """Write the files below `out`; their paths."""
    paths = []
    for path, text in found.files.items():
        write_whole(out / path, text)
        paths.append(out / path)
    return paths


def install(found: Schedule, root: Path = Path("/")) -> list[Path]:
    """Put a systemd or cron schedule in place and start it; needs root.

    With another `root` (a mounted disk) it starts with that system. Raises UsageError for the
    kinds that are committed, BakehouseError on a server of ours.
    """
    _installable(found)
    if (root / OF_A_SERVER).exists():
        raise BakehouseError(
            "this is a server that Bakehouse made: the next swap would take its schedule away",
            "schedule on another machine: your own, or a runner",
        )
    paths = write(found, root)
    for path in paths:
        path.chmod(0o644)
    if found.kind == "systemd":
        _systemctl(root, "enable", _timer(found))
    return paths


def remove(found: Schedule, root: Path = Path("/")) -> list[Path]:
    """Take a systemd or cron schedule away again; the paths that were there. Needs root."""
    _installable(found)
    there = [root / path for path in found.files if (root / path).exists()]
    if found.kind == "systemd" and there:
        _systemctl(root, "disable", _timer(found))
    for path in there:
        path.unlink()
    return there


def _installable(found: Schedule) -> None:
    if found.kind not in INSTALLED:
        raise UsageError(
            f"{found.kind} is not installed: its files are committed",
            "leave out --install and --remove; commit or delete the files",
        )


def _timer(found: Schedule) -> str:
    return next(path.name for path in found.files if path.suffix == ".timer")


def _systemctl(root: Path, verb: str, unit: str) -> None:
    """Now and at each boot here; at its boot for another root."""
    if root != Path("/"):
        run(["systemctl", f"--root={os.fspath(root)}", verb, unit])
        return
    run(["systemctl", "daemon-reload"])
    run(["systemctl", verb, "--now", unit])
