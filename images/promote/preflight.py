"""Step 1: may the data move? Facts of both sides in, reasons against it out; nothing is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloudinit.postgres import max_connections
from images.providers.base import FloatingIp, Server
from specs.model import Spec
from specs.plan import ImagePlan

Facts = Mapping[str, Any]

LONG: Final = 30.0
"""Seconds after which an open transaction is one that would hold up the pause."""

BACKLOG: Final = 16
"""Log segments (16 MiB each) that may wait for archiving."""

FROZEN: Final = 15.0
"""Seconds that Postgres' stop may wait for a standby that is frozen (`wal_sender_timeout`)."""

PENDING: Final = 256 << 20
"""Bytes of files that change while the first copy is made: the last pass has to carry as much."""

PASS: Final = 5.0
"""Seconds of a pass over the files that finds little to do; the pause waits for one."""

ROOM: Final = 1.2
"""Times what blue's disk holds that green's must have: the copy, and what is written meanwhile."""

MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""Debian's names for what the kernel says of a machine."""

PROVIDERS: Final = {"b": "builtin", "c": "libc", "i": "icu"}
"""`pg_database.datlocprovider` (PostgreSQL documentation, "pg_database")."""


def reasons(
    spec: Spec, plan: ImagePlan, blue: Facts, was: ImagePlan | None, disk: int | None
) -> list[str]:
    """Why blue's data cannot be moved to a server of this plan with `disk` bytes; best: none.
    `disk` is None where the provider decides how large it is.

    `blue` is what blue's hand says of itself (`hello`), `was` the plan of its image where that is
    still known. Each reason names what to do.
    """
    found = [*_serving(blue), *_platform(plan, blue), *_strategy(plan, blue), *_accounts(plan, was)]
    if plan.data.strategy == "replica":
        found += _space(blue, disk)
    postgres = blue.get("postgres")
    if plan.postgres and postgres:
        found += _readable(plan, postgres)
        if plan.data.strategy == "replica":
            found += [*_postgres(postgres), *_limits(plan, postgres)]
            found += _pooling(spec, plan, postgres)
    elif postgres and not plan.postgres:
        found.append("blue has a database and the image has no postgres section: nothing moves it")
    elif plan.postgres:
        found.append(
            "the image brings Postgres and blue has none: there is nothing to copy; "
            "deploy it as another spec"
        )
    return found


def address(ip: FloatingIp, blue: Server, holder: str) -> list[str]:
    """Why users could not be led on to green. `holder` names the server that has the floating IP,
    "" for none.
    """
    if not (ip.v4 or ip.v6):
        return [
            f"there is no floating IP {ip.name}: if deploy.floating_ip was changed, put the old "
            'name back; for another address see docs/promote.md, "Another floating IP"'
        ]
    if ip.server == blue.id:
        return []
    return [
        f"the floating IP {ip.name} is at {holder or 'no server'} and not at {blue.name}, which "
        "serves: if deploy.floating_ip was changed, put the old name back; else point it at "
        f"{blue.name} at the provider"
    ]


def _serving(blue: Facts) -> list[str]:
    state = blue["role"]["state"]
    if state in ("serving", "restored"):
        return []
    return [f"blue does not serve, it is {state}: `invoke status`"]


def _platform(plan: ImagePlan, blue: Facts) -> list[str]:
    there = MACHINES.get(blue["architecture"], blue["architecture"])
    if there == plan.system.architecture:
        return []
    return [f"blue is {there} and the image is {plan.system.architecture}: bake it for {there}"]


def _strategy(plan: ImagePlan, blue: Facts) -> list[str]:
    """What no version before this one tells is not known."""
    there, here = blue.get("strategy", plan.data.strategy), plan.data.strategy
    if there == here:
        return []
    return [
        f"blue keeps its data by {there} and the image by {here}: deploy the image as another spec "
        "and carry the data over from a backup (docs/backup.md)"
    ]


def _space(blue: Facts, disk: int | None) -> list[str]:
    needed = int(blue["files"] * ROOM)
    if disk is None or needed <= disk:
        return []
    return [
        f"blue's disk holds {blue['files'] / 1e9:.1f} GB and green's has {disk / 1e9:.1f} GB: it "
        f"needs {needed / 1e9:.1f} GB; order a larger disk"
    ]


def _accounts(plan: ImagePlan, was: ImagePlan | None) -> list[str]:
    if was is None or was.lock is None or plan.lock is None:
        return []
    old, new = was.lock.uids, plan.lock.uids
    return [
        f"the account {name} is {old[name]} on blue and {new[name]} in the image: files would "
        "change hands; bake with the lock that blue was baked with"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name]
    ]


def _readable(plan: ImagePlan, postgres: Facts) -> list[str]:
    """Why the image's Postgres could not go on with blue's data."""
    assert plan.postgres is not None
    found = []
    major = int(postgres["settings"]["server_version_num"]) // 10_000
    if major != plan.postgres.version:
        found.append(
            f"blue runs Postgres {major} and the image {plan.postgres.version}: another major "
            "version cannot read the data; see docs/promote.md for a dump"
        )
    return [*found, *_sorting(postgres)]


def _postgres(postgres: Facts) -> list[str]:
    """Why the data could not be copied, or not be stopped at once."""
    found = []
    if postgres["settings"].get("data_checksums") == "off":
        found.append("blue's cluster has no checksums, so a copy proves nothing: pg_checksums")
    if postgres["longest"] > LONG:
        found.append(
            f"a transaction has been open for {postgres['longest']:.0f} s: the pooler could not "
            "pause; end it, or wait for it"
        )
    if postgres["prepared"]:
        found.append(f"{postgres['prepared']} prepared transactions are open: end them")
    found += _frozen(postgres["settings"].get("wal_sender_timeout"))
    past = [f"{one['role']} in {one['database']}" for one in postgres["past_pooler"]]
    if past:
        found.append(
            f"connected past the pooler: {named(past)}: the pause would not hold them; end them"
        )
    if postgres["archive_backlog"] > BACKLOG:
        found.append(
            f"{postgres['archive_backlog']} log segments wait for archiving: stopping Postgres "
            "would wait for them; see why the archive is slow"
        )
    return found


def _frozen(timeout: str | None) -> list[str]:
    """`wal_sender_timeout` in milliseconds, 0 for none; None when an old hand does not tell."""
    if timeout is None or 0 < int(timeout) <= FROZEN * 1000:
        return []
    told = f"{int(timeout) / 1000:g} s" if int(timeout) else "off"
    return [
        f"wal_sender_timeout is {told}: a standby that freezes would hold up Postgres' stop; "
        f"set it to {FROZEN:g} s or less"
    ]


LIMITS: Final = (
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)
"""Settings of which a standby must have as much as its primary, besides the connections (PostgreSQL
documentation, "Hot Standby", "Administrator's Overview")."""


def _limits(plan: ImagePlan, postgres: Facts) -> list[str]:
    """What green would have more of than a blue that cannot raise it when it follows."""
    assert plan.postgres is not None
    if postgres.get("raises_limits"):
        return []
    given, known = plan.postgres.settings, postgres["settings"]
    wanted = {name: int(given[name]) for name in LIMITS if given.get(name, "").isdecimal()}
    wanted["max_connections"] = max_connections(plan.postgres)
    larger = [
        f"{name} {limit} and blue has {known[name]}"
        for name, limit in sorted(wanted.items())
        if name in known and limit > int(known[name])
    ]
    if not larger:
        return []
    return [
        f"the image has {'; '.join(larger)}: blue's image is too old to follow a server that has "
        "more, so there would be no second copy; first bake and promote without the larger ones"
    ]


def restless(pending: Facts) -> list[str]:
    """Why the files of green, which were carried, would take too long to carry again in the pause.

    `pending` is what a pass would carry now, and the seconds that it took to find that out.
    """
    found = []
    if pending.get("bytes", 0) > PENDING:
        found.append(
            f"{pending['bytes'] / 1e6:.0f} MB of files changed while they were copied, and the "
            f"pause has room for {PENDING / 1e6:.0f} MB: promote when less is written"
        )
    if pending.get("seconds", 0.0) > PASS:
        found.append(
            f"a pass over the files takes {pending['seconds']:.0f} s, and the pause has room for "
            f"{PASS:g} s: keep fewer files, or keep them elsewhere"
        )
    return found


def _sorting(postgres: Facts) -> list[str]:
    """Only the builtin provider sorts the same under every library."""
    return [
        f"the database {name} sorts by {PROVIDERS.get(provider, provider)}, whose version there "
        "may differ, which spoils indexes; make it anew with the builtin provider"
        for name, provider, *_ in postgres["collations"]
        if provider != "b"
    ]


def _pooling(spec: Spec, plan: ImagePlan, postgres: Facts) -> list[str]:
    assert plan.postgres is not None
    kinds = {postgres["pooling"], plan.postgres.pooling} - {"transaction"}
    if not kinds or spec.deploy.allow_disconnects:
        return []
    return [
        f"pooling is {' and '.join(sorted(kinds))}: clients keep their sessions, which a swap must "
        "cut; accept that with deploy.allow_disconnects, or use transaction pooling"
    ]


def mismatch(green: Facts) -> list[str]:
    """Why the copy on green, now that it runs, is not what it is on blue."""
    rows = (green.get("postgres") or {}).get("collations", ())
    return [
        f"the database {name} was sorted by version {recorded} of {locale} and green has {actual}"
        for name, _, locale, recorded, actual in rows
        if recorded != actual
    ]


def named(found: Sequence[Any], most: int = 3) -> str:
    """The first few of what was found, for a sentence."""
    shown = ", ".join(str(item) for item in found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
