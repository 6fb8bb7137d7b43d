"""The values of a spec's secrets, from the file beside it and from commands of other tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from specs.model import Spec


def gather(spec: Spec, spec_file: Path) -> Mapping[str, str]:
    """Every secret that this spec's servers need, by name, for `deliver`.

    Reads `<spec>.secrets.age` and runs the spec's commands on this machine. Raises UsageError that
    names every secret that is nowhere, with the nearest name that is, and CommandError, without
    what it printed, for a command that fails.
    """
    raise NotImplementedError
