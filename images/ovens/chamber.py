"""Commands inside a tree: systemd-nspawn without booting it, without network, with fixed names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from images.run import Result, run


def command(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[str, Path] | None = None,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Run `argv` in `root`. `binds` maps a place inside to a folder shown there read-only.

    Host name, time zone and resolver of this machine stay outside: the result must not know them.
    """
    words = [
        "systemd-nspawn",
        "--quiet",
        f"--directory={root}",
        "--machine=bakehouse",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        "--private-network",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--as-pid2",
        "--pipe",
        "--setenv=DEBIAN_FRONTEND=noninteractive",
        "--setenv=LC_ALL=C.UTF-8",
        "--setenv=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    words += [f"--setenv={key}={value}" for key, value in (env or {}).items()]
    words += [f"--bind-ro={source}:{inside}" for inside, source in (binds or {}).items()]
    return [*words, "--", *argv]


def enter(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[str, Path] | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Result:
    """Run a command in a tree to its end. Raises CommandError when it fails."""
    return run(command(root, argv, binds=binds, env=env), on_line=on_line)
