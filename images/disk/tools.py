"""Commands that shape bits: they run inside the tools layer, in a world that is always the same.

Same locale, time zone, clock, umask and environment, and no file of the host but what is bound in.
The mounts live in a namespace of the command's own, so nothing is left behind, however it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from images.run import Feed, Result, run, show
from specs.errors import BakehouseError

INSIDE: Final = "/mnt"
"""Where the bound folders appear, each under its name. Debian's base-files brings the folder."""

WORK: Final = f"{INSIDE}/work"
"""Where the work folder appears."""

SCRIPT: Final = """
umask 022
root=$1 work=$2 count=$3
shift 3
mount -t tmpfs -o mode=0755 bakehouse "$root/mnt"
mount --bind /proc "$root/proc"
mkdir "$root/mnt/work"
rm -rf "$work.overlay"
mkdir "$work.overlay" "$work.overlay/empty" "$work.overlay/work"
mount -t overlay -o "lowerdir=$work.overlay/empty,upperdir=$work,workdir=$work.overlay/work,\
redirect_dir=off,metacopy=off,volatile" overlay "$root/mnt/work"
while [ "$count" -gt 0 ]; do
    mkdir "$root/mnt/$1"
    mount --bind "$2" "$root/mnt/$1"
    shift 2
    count=$((count - 1))
done
exec chroot "$root" /usr/bin/env -i "$@"
"""
"""The work folder is an overlay's upper one, whose only use is to be volatile: file system tools
wait for the disk at their end, for gigabytes that nobody has asked to keep yet (Linux,
Documentation/filesystems/overlayfs.rst, "Volatile mount")."""


def command(
    tools: Path, argv: Sequence[str], *, work: Path, binds: Mapping[str, Path], epoch: int
) -> list[str]:
    """`argv` to be run in the tools layer, with `work` at `WORK` and `binds` at `/mnt/<name>`.

    A folder beside `work`, of its name with `.overlay`, is left for the caller to remove. `epoch`
    (seconds since 1970) is the clock of every tool that honours SOURCE_DATE_EPOCH.
    """
    folders = [word for name, folder in binds.items() for word in (name, str(folder))]
    environment = [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL=C.UTF-8",
        "TZ=UTC",
        f"SOURCE_DATE_EPOCH={epoch}",
        f"E2FSCK_TIME={epoch}",
    ]
    inner = ["sh", "-euc", SCRIPT, "sh", str(tools), str(work), str(len(binds)), *folders]
    return ["unshare", "--mount", "--propagation", "private", *inner, *environment, *argv]


def use(
    tools: Path,
    argv: Sequence[str],
    *,
    work: Path,
    epoch: int,
    binds: Mapping[str, Path] | None = None,
    stdin: str | Feed | None = None,
    fine: tuple[int, ...] = (0,),
) -> Result:
    """Run `command`. Raises BakehouseError when the exit code is not one of `fine`."""
    words = command(tools, argv, work=work, binds=binds or {}, epoch=epoch)
    result = run(words, stdin=stdin, check=False)
    if result.code not in fine:
        raise BakehouseError(
            f"{show(argv)}: exit code {result.code}\n{result.stdout}{result.stderr}".rstrip()
        )
    return result
