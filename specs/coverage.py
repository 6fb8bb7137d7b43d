"""Whether a lock is still of its spec: it was resolved from the names that the spec wants now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from specs import packages
from specs.facts import file_digest
from specs.lock import Lock
from specs.model import Spec


def images(spec: Spec, folder: Path) -> dict[str, str]:
    """The digest of each app's container image, or of the archive that brings it.

    `folder` is where the spec's paths start. Images that are built have their packages in the lock.
    """
    found = {app.name: app.image.rpartition("@")[2] for app in spec.apps if app.image}
    archives = {app.name: app.archive for app in spec.apps if app.archive}
    return found | {name: f"sha256:{file_digest(folder / path)}" for name, path in archives.items()}


def differences(spec: Spec, folder: Path, lock: Lock) -> Iterator[str]:
    """What the spec wants otherwise than the lock has it, a line for each; none when it fits."""
    if (lock.release, lock.architecture) != (spec.system.release, spec.system.architecture):
        yield f"it is of {lock.release} on {lock.architecture}"
    wanted = packages.layers(spec)
    for layer in (*wanted, *sorted(set(lock.wanted) - set(wanted))):
        before, now = set(lock.wanted.get(layer, ())), set(wanted.get(layer, ()))
        more, less = sorted(now - before), sorted(before - now)
        if more:
            yield f"{layer} also wants {', '.join(more)}"
        if less:
            yield f"{layer} no longer wants {', '.join(less)}"
    here = images(spec, folder)
    for app in sorted({*here, *lock.images}):
        if here.get(app) != lock.images.get(app):
            yield f"the image of {app} is another"
    unnumbered = sorted(set(packages.numbers(spec)) - set(lock.uids))
    if unnumbered:
        yield f"it has no number for the account {', '.join(unnumbered)}"
