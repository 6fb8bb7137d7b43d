"""What a bake brings, for the journal and for whoever is told: changed packages and closed CVEs."""

from __future__ import annotations

from typing import Any

from images import store
from images.fixes import fixes
from images.home import Home
from specs.errors import BakehouseError
from specs.lock import Lock, changes, load


def last_lock(home: Home, spec: str) -> Lock | None:
    """The lock of a spec's newest generation whose image is still there."""
    for generation in sorted(store.generations(home, spec), key=lambda g: -g.number):
        found = image_lock(home, generation.image)
        if found:
            return found
    return None


def image_lock(home: Home, image: str) -> Lock | None:
    """The lock that a stored image was made from; None when this version cannot read it."""
    try:
        return load(home.images / image / "spec.lock")
    except (BakehouseError, OSError):
        return None


def told(home: Home, old: Lock | None, new: Lock) -> dict[str, Any]:
    """The keys `changes` (a line each) and `fixes` (CVE ids by package) of a journal's line.

    Fixes are read from the changelogs of packages in the cache.
    """
    if old is None:
        return {"changes": [f"first image: {len(new.image_packages())} packages"]}
    found = list(changes(old, new)) or ["no package changed; the spec or Bakehouse did"]
    fixed = fixes(home, old, new) if old != new else None
    ids = {name: list(cves) for name, cves in fixed.ids.items()} if fixed else {}
    return {"changes": found, **({"fixes": ids} if ids else {})}
