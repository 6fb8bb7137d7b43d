"""Commands that shape bits: they run inside the tools layer, in a world that is always the same.

Same locale, time zone, clock, umask and environment, and no file of the host but what is bound in.
The mounts live in a namespace of the command's own, so nothing is left behind, however it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from images.run import Result, run, show
from specs.errors import BakehouseError

INSIDE: Final = "/mnt"
"""Where the bound folders appear, each under its name. Debian's base-files brings the folder."""

SCRIPT: Final = """
umask 022
root=$1 count=$2
shift 2
mount -t tmpfs -o mode=0755 bakehouse "$root/mnt"
mount --bind /proc "$root/proc"
while [ "$count" -gt 0 ]; do
    mkdir "$root/mnt/$1"
    mount --bind "$2" "$root/mnt/$1"
    shift 2
    count=$((count - 1))
done
exec chroot "$root" /usr/bin/env -i "$@"
"""


def command(
    tools: Path, argv: Sequence[str], *, binds: Mapping[str, Path], epoch: int
) -> list[str]:
    """`argv` to be run in the tools layer, with each folder of `binds` at `/mnt/<name>`.

    `epoch` (seconds since 1970) is the clock of every tool that honours SOURCE_DATE_EPOCH.
    """
    folders = [word for name, folder in binds.items() for word in (name, str(folder))]
    environment = [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL=C.UTF-8",
        "TZ=UTC",
        f"SOURCE_DATE_EPOCH={epoch}",
        f"E2FSCK_TIME={epoch}",
    ]
    inner = ["sh", "-euc", SCRIPT, "sh", str(tools), str(len(binds)), *folders]
    return ["unshare", "--mount", "--propagation", "private", *inner, *environment, *argv]


def use(
    tools: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[str, Path],
    epoch: int,
    stdin: str | None = None,
    fine: tuple[int, ...] = (0,),
) -> Result:
    """Run `command`. Raises BakehouseError when the exit code is not one of `fine`."""
    result = run(command(tools, argv, binds=binds, epoch=epoch), stdin=stdin, check=False)
    if result.code not in fine:
        raise BakehouseError(
            f"{show(argv)}: exit code {result.code}\n{result.stdout}{result.stderr}".rstrip()
        )
    return result
