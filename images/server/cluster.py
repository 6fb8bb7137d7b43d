"""Makes the Postgres cluster of a first primary, and fits Postgres to this machine's memory.

Runs before Postgres at every boot. An empty cluster is made only where the role allows it, nothing
is there and this server never had one: a lost disk must not look like a first deployment.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Final

from . import state
from .state import ProgramError

MARKER: Final = Path("/var/lib/bakehouse/had-cluster")
"""Outside of /data on purpose: says that this server had a cluster even when /data is gone."""

TUNING: Final = state.RUN / "postgres.conf"
MIB: Final = 1024 * 1024


def main() -> None:
    """Obey the role: keep what is there, make a cluster, or wait for one."""
    version = int(state.server()["postgres"]["version"])
    owner = pwd.getpwnam("postgres")
    state.write(TUNING, tuning(memory()), mode=0o644)
    home = state.cluster_folder(version)
    if exists(home, version, owner.pw_uid):
        remember()
        return
    if state.role() == "standby":
        print(f"no cluster in {home} yet: a standby gets its data from its primary")
        return
    refuse_unless_first(home, bool(state.boot()["may_init"]))
    make(home, version, owner)
    remember()
    print(f"made an empty cluster in {home}")


def exists(home: Path, version: int, uid: int) -> bool:
    """Whether a whole cluster lies in `home`. Raises ProgramError for anything else in there."""
    found = home / "PG_VERSION"
    if not home.is_dir() or not any(home.iterdir()):
        return False
    if not found.exists():
        raise ProgramError(
            f"{home} holds files, but no Postgres cluster: look at them, then move them"
        )
    if found.read_text().strip() != str(version):
        raise ProgramError(f"the cluster in {home} is of version {found.read_text().strip()}")
    if home.stat().st_uid != uid:
        raise ProgramError(
            f"{home} belongs to user {home.stat().st_uid}, but postgres is {uid}: this image was"
            " made for other account numbers than the data"
        )
    return True


def refuse_unless_first(home: Path, may_init: bool) -> None:
    """Raises ProgramError unless this is a first boot that may make an empty cluster."""
    others = sorted(home.parent.parent.glob("*/main/PG_VERSION"))
    if others:
        raise ProgramError(
            f"{others[0].parent} holds a cluster of another major version: this image cannot"
            f" read it; boot the image that can"
        )
    if MARKER.exists():
        raise ProgramError(
            f"this server had a cluster in {home} and it is gone: is /data mounted? No empty one"
            f" is made in its place; restore a backup (docs/backup.md)"
        )
    if not may_init:
        raise ProgramError(
            f"there is no cluster in {home} and this server may not make an empty one: deploy the"
            " first server with promote --first, or give this one its data"
        )


def make(home: Path, version: int, owner: pwd.struct_passwd) -> None:
    """A new cluster, complete before it gets its name: a killed initdb leaves nothing behind."""
    state.folder(home.parent.parent, 0o755)
    state.folder(home.parent, 0o700, owner.pw_uid, owner.pw_gid)
    new = home.with_name("main.new")
    shutil.rmtree(new, ignore_errors=True)
    done = subprocess.run(
        initdb(new, version),
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramError(f"initdb failed: {done.stderr.strip()}")
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        (new / name).unlink()  # settings come with the image, never with the data
    if home.exists():
        home.rmdir()
    new.rename(home)
    state.sync_folder(home.parent)


def initdb(home: Path, version: int) -> list[str]:
    """Checksums find rotten pages; the builtin locale sorts the same under every libc."""
    return [
        state.binary(version, "initdb"),
        f"--pgdata={home}",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--auth=peer",
        "--no-instructions",
    ]


def remember() -> None:
    """Note on this server that it has had a cluster."""
    if not MARKER.exists():
        MARKER.parent.mkdir(mode=0o700, exist_ok=True)
        state.write(MARKER, "see cluster.py\n")


def memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def tuning(total: int) -> str:
    """Postgres settings for a machine with `total` bytes, shared with containers.

    An eighth for shared buffers: half of what the PostgreSQL documentation ("Resource
    Consumption") calls reasonable for a machine of its own, since apps live here too.
    """

    def share(divisor: int, least: int, most: int) -> int:
        return max(least, min(total // MIB // divisor, most))

    return (
        "# Made at every boot from this machine's memory (cluster.py).\n"
        f"shared_buffers = {share(8, 128, 8192)}MB\n"
        f"effective_cache_size = {share(2, 256, 65536)}MB\n"
        f"maintenance_work_mem = {share(32, 64, 1024)}MB\n"
        f"work_mem = {share(512, 4, 32)}MB\n"
    )


if __name__ == "__main__":
    state.run_program(main)
