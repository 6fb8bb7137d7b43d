"""The values of a spec's secrets, from the file beside it and from commands of other tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from images.run import TAIL, run, show
from images.secrets.vault import RESERVED, open_vault, secrets_path
from specs.errors import BakehouseError, UsageError
from specs.finding import near
from specs.model import Spec
from specs.needs import TOKENS, needed, of_operator, welcome
from specs.plan import ImagePlan

PATIENCE: Final = 120.0
"""Seconds that a command may take: a person may have to unlock something."""


CHANGED: Final = "take that server for one that somebody broke into: promote a newer image"
"""What to do about a server that asks for what its spec never gave it."""


def gather(
    spec: Spec,
    spec_file: Path,
    image: ImagePlan | None = None,
    *,
    named: str = "",
    baked: bool = False,
) -> Mapping[str, str]:
    """Every secret that the spec's servers need, by name, for `deliver`.

    Reads `<spec>.secrets.age` and runs the spec's commands on this machine. With `image`, its
    apps decide what is needed: a generation may be older than the spec. That is the plan of the
    image `named`; unless this home `baked` it a server told it, and it may name no secret that the
    spec does not. Raises UsageError that names every secret that is nowhere, with the nearest name
    that is, and BakehouseError for a plan that names what its server may not have, and, without
    what it printed, for a command that fails.
    """
    wanted = needed(image or spec)
    _refuse(spec, spec_file, {*wanted, *welcome(image or spec)}, named, image is None or baked)
    known = in_file(spec_file)
    sources = spec.secrets.sources
    missing = [name for name in wanted if name not in known and name not in sources]
    if missing:
        raise UsageError(*_missing(missing, wanted, known, spec_file))
    found = {}
    for name in (*wanted, *welcome(image or spec)):
        if name in sources:
            found[name] = printed(name, sources[name].command, spec_file.parent)
        elif name in known:
            found[name] = known[name]
    return found


def _refuse(spec: Spec, spec_file: Path, asked: set[str], named: str, ours: bool) -> None:
    """Raises BakehouseError when names are `asked` for that no server gets, or that, since the plan
    is not `ours`, its server may have made up."""
    who = f"the plan of {named}" if named else str(spec_file)
    told = who if ours else f"{who}, as a server told it,"
    never = {*RESERVED, *TOKENS, *of_operator(spec)}
    if kept := sorted(asked & never):
        raise BakehouseError(
            f"{told} asks for {', '.join(kept)}: that is the operator's, and no server gets it",
            "give the app's secret another name in the spec, and bake again" if ours else CHANGED,
        )
    if not ours and (more := sorted(asked - {*needed(spec), *welcome(spec)})):
        raise BakehouseError(
            f"{told} asks for {', '.join(more)}, which {spec_file} does not name",
            f"run this where the image was baked, or with the spec as it was then; else {CHANGED}",
        )


def lookup(spec: Spec, spec_file: Path, name: str, reader: str) -> str:
    """One secret, which `reader` wants on this machine. Raises as `gather`."""
    source = spec.secrets.sources.get(name)
    if source:
        return printed(name, source.command, spec_file.parent)
    known = in_file(spec_file)
    if name not in known:
        raise UsageError(*_missing([name], {name: (reader,)}, known, spec_file))
    return known[name]


def in_file(spec_file: Path) -> Mapping[str, str]:
    """What the secrets file holds, by name; nothing when there is none."""
    path = secrets_path(spec_file)
    return open_vault(path).values if path.exists() else {}


def _missing(
    names: list[str],
    wanted: Mapping[str, tuple[str, ...]],
    known: Mapping[str, str],
    spec_file: Path,
) -> tuple[str, str]:
    told = [f"{name} (for {', '.join(wanted[name])})" for name in names]
    write = f"write it with: invoke secrets edit --spec {spec_file}"
    unused = [name for name in known if name not in wanted]
    hints = [near(name, unused, "") for name in names]
    hint = next((f"in the file there is another: {hint}" for hint in hints if hint), write)
    noun = "secret is" if len(names) == 1 else "secrets are"
    return f"{len(names)} {noun} neither in {secrets_path(spec_file)} nor has a command: " + (
        ", ".join(told)
    ), hint


def printed(name: str, command: tuple[str, ...], folder: Path) -> str:
    """What a secret's command prints, without the line's end. It runs in the spec's folder.

    What it printed is in no error and no log: even of a failure it may be a part of the secret.
    """
    done = run(list(command), cwd=folder, timeout=PATIENCE, check=False)
    value = done.stdout.removesuffix("\n").removesuffix("\r")
    if done.code == 0 and value and "\0" not in value:
        return value
    why = f"exit code {done.code}" if done.code else "printed nothing"
    if done.code == 0 and value:
        why = "printed a NUL byte"
    said = "\n".join(done.stderr.rstrip().splitlines()[-TAIL:])
    raise BakehouseError(
        f"the command for the secret {name}, {show(command)}: {why}"
        + (f"\n{said}" if said else ""),
        "run it by hand to see what it needs, for example that you log in",
    )
