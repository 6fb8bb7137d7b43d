"""Leases beside the one of a swap: two runs of one kind never overlap, on whatever machines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from images.promote.job import Site, known_dead, owner
from images.promote.lease import Lease, LostLeaseError, kept, newest, take

Kind = Literal["rebuild", "build"]


@contextmanager
def alone(site: Site, kind: Kind) -> Iterator[Lease]:
    """Hold the lease of all such runs of a spec. Raises HeldLeaseError while another one lives."""
    with owner(site) as name:
        lease = take(
            site.provider,
            _name(site, kind),
            name,
            {"verb": kind},
            dead=lambda other: known_dead(site, other),
        )
        with kept(lease):
            try:
                yield lease
            finally:
                with suppress(LostLeaseError):
                    lease.release()


def runs(site: Site, kind: Kind) -> bool:
    """Whether somebody may be at it now, by what the provider tells."""
    claim = newest(site.provider, _name(site, kind))
    return claim is not None and not claim.ended(time.time())


def _name(site: Site, kind: Kind) -> str:
    return f"{site.name}.{kind}"  # no spec's name: those have no dot
