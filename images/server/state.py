"""What our programs on a server share: its facts, files written whole or not at all, `psql`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(os.environ.get("BAKEHOUSE_ROOT", "/"))
"""Where our files are; anything but `/` is for tests of programs as processes."""

ETC: Final = ROOT / "etc/bakehouse"
RUN: Final = ROOT / "run/bakehouse"
LIB: Final = ROOT / "var/lib/bakehouse"
DATA: Final = ROOT / "data"
STATE: Final = DATA / "state"
ROLE: Final = LIB / "role.json"
"""What the guard recorded (`guard`, `roles`); missing before the first swap."""

EXPECTED: Final = RUN / "expected"
"""The epoch of the swap that the operator's run announced (`record.expect`); gone with a boot."""

BOOT_ID: Final = ROOT / "proc/sys/kernel/random/boot_id"
SOCKETS: Final = "/run/postgresql"

SETTINGS: Final[Mapping[str, str]] = {
    "search_path": "",
    "role": "none",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    "local_preload_libraries": "",
}
"""What our sessions have in every database. Its owner, an app, may set all of these for whoever
connects to it (`ALTER DATABASE … SET`), and an option of the connection counts more (PostgreSQL
documentation, "Parameter Interaction via the Configuration File"). With an empty search path no
function of the app's is called with our rights (CVE-2018-1058)."""

NEWER: Final[Mapping[str, int]] = {"transaction_timeout": 17}
"""The same, all of them 0, by the version that has them first; an older one would refuse us."""


class ProgramError(Exception):
    """Why a program cannot do its work, and what a person can do about it."""


def read_json(path: Path) -> Any:
    """The file's data. Raises ProgramError when it is missing or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ProgramError(f"{path} does not exist") from None
    except ValueError as error:
        raise ProgramError(f"{path} is damaged ({error}); restore it from a backup") from error


def server() -> dict[str, Any]:
    """What the image says of this server's spec."""
    return dict(read_json(ETC / "server.json"))


def boot() -> dict[str, Any]:
    """What this server learnt at its first boot: role, generation, `may_init`."""
    return dict(read_json(ETC / "boot.json"))


def boot_id() -> str:
    """What tells this boot from all others."""
    return BOOT_ID.read_text().strip()


def recorded() -> str:
    """The state that the guard recorded; "" before the first swap."""
    return str(read_json(ROLE)["state"]) if ROLE.exists() else ""


def role() -> str:
    """`primary`, `standby` or `throwaway`: as the guard recorded it, else as boot.json has it.

    An open swap makes a standby of either server: neither begins anything new then.
    """
    if not ROLE.exists():
        return str(boot()["role"])
    known = read_json(ROLE)
    settled = known["state"] == "serving"
    back = known["state"] == "restored" and known["boot"] == boot_id()
    return "primary" if settled or back else "standby"


def cluster_folder(version: int) -> Path:
    """Where the cluster of this major version lives, or would."""
    return DATA / "postgres" / str(version) / "main"


def binary(version: int, name: str) -> str:
    """A program of this major version of Postgres, without Debian's wrapper around it."""
    return f"/usr/lib/postgresql/{version}/bin/{name}"


def psql(version: int, sql: str, database: str = "postgres") -> str:
    """Run SQL as the administrator and return what it prints, a row per line, `|` between.

    The script goes through standard input, never on a command line. Settings are ours, not those
    of the database. Raises ProgramError with the first error, also when a lock that somebody else
    holds is in the way for 10 s.
    """
    command = [binary(version, "psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only"]
    command += ["--set=ON_ERROR_STOP=1", f"--host={SOCKETS}", "--username=postgres"]
    done = subprocess.run(
        [*command, f"--dbname={database}"],
        input=sql,
        env=environment(version),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramError(f"Postgres refused: {done.stderr.strip()}")
    return done.stdout


def environment(version: int) -> dict[str, str]:
    """Our own, for a program of Postgres that connects as the administrator: with `SETTINGS`."""
    newer = {name: "0" for name, first in NEWER.items() if version >= first}
    settings = {name: value.replace(" ", r"\ ") for name, value in {**SETTINGS, **newer}.items()}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {**os.environ, "PGOPTIONS": options}


def in_recovery(version: int) -> bool:
    """Whether this server's Postgres replays another's log. Raises ProgramError when it is down."""
    return psql(version, "SELECT pg_is_in_recovery()").strip() == "t"


def accepts_writes(version: int, role: str) -> bool:
    """Whether Postgres here can be changed; a standby without data yet cannot.

    What Postgres says counts more than the first role: a promote changes it.
    """
    if role == "standby" and not (cluster_folder(version) / "PG_VERSION").exists():
        return False
    return not in_recovery(version)


def is_primary(facts: dict[str, Any], role: str) -> bool:
    """Whether this server holds the truth. Raises ProgramError when its Postgres is down."""
    if role == "throwaway" or not facts["postgres"] or ROLE.exists():
        return role == "primary"
    return accepts_writes(int(facts["postgres"]["version"]), role)


def write(path: Path, text: str, mode: int = 0o600, gid: int = -1) -> None:
    """Make the file hold `text`, whole or not at all, also when the power fails.

    A file that is already so is left alone. Its folder must exist. `gid` -1 is our own group.
    """
    data = text.encode()
    gid = os.getegid() if gid == -1 else gid
    try:
        known = path.stat()
        if (known.st_mode & 0o7777, known.st_gid) == (mode, gid) and path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        if gid != os.getegid():
            os.fchown(handle, -1, gid)
        os.fchmod(handle, mode)
        file.flush()
        os.fsync(handle)
    new.rename(path)
    sync_folder(path.parent)


def setting(name: str, value: str) -> str:
    """A line for `setting_file`, the value as text (PostgreSQL documentation, "Setting
    Parameters")."""
    for old, new in (("\\", r"\\"), ("'", "''"), ("\n", r"\n"), ("\r", r"\r")):
        value = value.replace(old, new)
    return f"{name} = '{value}'\n"


def setting_file(name: str, text: str) -> None:
    """What this server learnt for Postgres, in its folder of settings; "" takes the file away."""
    version = server()["postgres"]["version"]
    path = ROOT / f"etc/postgresql/{version}/main/conf.d" / name
    if text:
        write(path, text, mode=0o644)
    elif path.exists():
        path.unlink()
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in this folder outlast a power failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder(path: Path, mode: int, uid: int = -1, gid: int = -1) -> Path:
    """The folder with exactly this mode, made when missing; its parent must exist.

    `uid` and `gid` -1 leave its owner as it is. Raises ProgramError when a link is in its place.
    """
    if path.is_symlink():
        raise ProgramError(f"{path} is a link; find out who made it, and put a folder in its place")
    path.mkdir(mode=mode, exist_ok=True)
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def run_program(main: Callable[[], None]) -> None:
    """Run a program's `main`; a ProgramError is one error line in the journal and exit code 1."""
    try:
        main()
    except ProgramError as failure:
        message = " ".join(str(failure).split())
        print(f"<3>{message}", file=sys.stderr)  # <3>: the journal's error level (sd-daemon(3))
        sys.exit(1)
