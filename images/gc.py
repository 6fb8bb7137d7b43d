"""What nothing needs any more. Whoever has the lease of a spec keeps all that is of that spec."""

from __future__ import annotations

import time

from images.garbage import Garbage
from images.home import Home
from images.promote.lease import newest
from images.providers import local_garbage
from images.providers.base import SPEC
from images.providers.local import Local
from images.providers.local_state import records


def find(home: Home, *, servers: bool, everything: bool) -> list[Garbage]:
    """Left-overs of killed runs; with `servers` also servers that are neither active nor standby.

    With `everything` the whole local cloud of this home, whatever runs there. Needs root.
    """
    provider = Local(home)
    if everything:
        return local_garbage.all_of(provider.cloud)
    specs = {found.labels.get(SPEC, "") for found in records(provider.cloud)}
    busy = {spec for spec in specs if _leased(provider, spec)}
    return local_garbage.garbage(provider.cloud, servers=servers, busy=busy)


def _leased(provider: Local, spec: str) -> bool:
    claim = newest(provider, spec)
    return claim is not None and not claim.ended(time.time())
