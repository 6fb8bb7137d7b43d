"""Step 1: may the data move? Facts of both sides in, reasons against it out; nothing is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from specs.model import Spec
from specs.plan import ImagePlan

Facts = Mapping[str, Any]

LONG: Final = 30.0
"""Seconds after which an open transaction is one that would hold up the pause."""

BACKLOG: Final = 16
"""Log segments (16 MiB each) that may wait for archiving."""

ROOM: Final = 1.2
"""Times the data's size that green must have free: the copy, and what is written meanwhile."""


def reasons(spec: Spec, plan: ImagePlan, blue: Facts, disk: int) -> list[str]:
    """Why blue's data cannot be moved to a server of this plan with `disk` bytes; best: none.

    `blue` is what blue's hand says of itself (`hello`). Each reason names what to do.
    """
    found = [*_serving(blue), *_platform(plan, blue)]
    postgres = blue.get("postgres")
    if plan.postgres and postgres:
        found += _postgres(plan, postgres)
        found += _pooling(spec, plan)
        found += _space(blue, disk)
    elif postgres and not plan.postgres:
        found.append("blue has a database and the image has no postgres section: nothing moves it")
    elif plan.postgres:
        found.append(
            "the image brings Postgres and blue has none: there is nothing to copy; "
            "deploy it as another spec"
        )
    return found


def _serving(blue: Facts) -> list[str]:
    state = blue.get("role", {}).get("state", "")
    if state in ("serving", "restored"):
        return []
    return [f"blue does not serve, it is {state or 'silent'}: `invoke status`"]


def _platform(plan: ImagePlan, blue: Facts) -> list[str]:
    there = blue.get("architecture", plan.system.architecture)
    if there == plan.system.architecture:
        return []
    return [f"blue is {there} and the image is {plan.system.architecture}: bake it for {there}"]


def _postgres(plan: ImagePlan, postgres: Facts) -> list[str]:
    assert plan.postgres is not None
    found = []
    if int(postgres["version"]) != plan.postgres.version:
        found.append(
            f"blue runs Postgres {postgres['version']} and the image {plan.postgres.version}: "
            "another major version cannot read the data; dump and load it, as docs/promote.md says"
        )
    for database in postgres.get("databases", ()):
        provider = database.get("provider", "builtin")
        if provider not in ("builtin", "b"):
            found.append(
                f"database {database['name']} sorts by the system's library ({provider}): another "
                "one there would spoil its indexes; make it again with the builtin provider"
            )
    if postgres.get("checksums") is False:
        found.append("blue's cluster has no checksums: a copy could not be proven; pg_checksums")
    oldest = float(postgres.get("longest_transaction") or 0)
    if oldest > LONG:
        found.append(
            f"a transaction has been open for {oldest:.0f} s: the pooler could not pause; "
            "end it, or wait for it"
        )
    past = postgres.get("direct", ())
    if past:
        found.append(
            f"connected past the pooler: {named(past)}: the pause would not hold them; end them"
        )
    waiting = int(postgres.get("archive_backlog") or 0)
    if waiting > BACKLOG:
        found.append(
            f"{waiting} log segments wait for archiving: stopping Postgres would wait for them; "
            "see why the archive is slow"
        )
    return found


def _pooling(spec: Spec, plan: ImagePlan) -> list[str]:
    assert plan.postgres is not None
    pooling = plan.postgres.pooling
    if pooling == "transaction" or spec.deploy.allow_disconnects:
        return []
    return [
        f"pooling is {pooling}: clients keep their sessions, which a swap must cut; accept that "
        "with deploy.allow_disconnects, or use transaction pooling"
    ]


def _space(blue: Facts, disk: int) -> list[str]:
    size = int(blue.get("size") or 0)
    if not disk or size * ROOM <= disk:
        return []
    return [
        f"the data is {size / 1e9:.1f} GB and green has {disk / 1e9:.1f} GB free: it needs "
        f"{size * ROOM / 1e9:.1f} GB; order a larger disk"
    ]


def mismatch(blue: Facts, green: Facts) -> list[str]:
    """Why a copy on green, now that it runs, would not be what it is on blue."""
    one, other = blue.get("postgres") or {}, green.get("postgres") or {}
    return [
        f"{what} differs: {one[key]} on blue, {other[key]} on green"
        for key, what in (("version", "the major version of Postgres"), ("locale", "the locale"))
        if key in one and key in other and one[key] != other[key]
    ] + _accounts(blue.get("accounts", {}), green.get("accounts", {}))


def _accounts(blue: Facts, green: Facts) -> list[str]:
    return [
        f"the account {name} is {blue[name]} on blue and {green[name]} on green: files would "
        "change hands; bake with the lock that blue was baked with"
        for name in sorted(blue.keys() & green.keys())
        if blue[name] != green[name]
    ]


def named(found: Sequence[Any], most: int = 3) -> str:
    """The first few of what was found, for a sentence."""
    shown = ", ".join(str(item) for item in found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
