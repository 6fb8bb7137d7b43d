"""The verbs known-hosts and host-keys. What they need is imported when they run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from invoke.context import Context

from images.calls import emit
from images.options import SPEC, verb


def _site(spec: str, store: str, provider: str) -> Any:
    """Where a spec is deployed."""
    from images.home import find_home
    from images.promote import calling

    return calling.site(spec, find_home(store), provider)


def _note(line: str) -> None:
    print(line, file=sys.stderr)


KNOWN_HOSTS: Final = "also write the revocation list for SSH into this file"


@verb("spec", "store", "json", "provider", revoked=KNOWN_HOSTS)
def known_hosts(
    _: Context,
    revoked: str = "",
    spec: str = SPEC,
    provider: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """Print the one line for known_hosts by which SSH trusts all servers of a spec."""
    from images.hosts.ca import revocation_list
    from images.hosts.certificates import trust_of

    site = _site(spec, store, provider)
    trust = trust_of(site, _note)
    written = revocation_list(trust.ca, site.spec_file, Path(revoked)) if revoked else None
    if revoked:
        told = f"RevokedHostKeys {written.absolute()}" if written else "nothing is revoked"
        print(told, file=sys.stderr)
    emit(json, {"line": trust.line(), "revoked": str(written or "")}, trust.line())


@verb(
    *("spec", "store", "json", "provider"),
    renew="give every running server a fresh certificate",
    revoke="no longer trust the server of this name: adds it to `<spec>.revoked`",
)
def host_keys(
    _: Context,
    renew: bool = False,
    revoke: str = "",
    spec: str = SPEC,
    provider: str = "",
    store: str = "",
    json: bool = False,
) -> None:
    """Show the certificates of the servers' SSH host keys, and when they end."""
    from datetime import datetime

    from images.hosts.ca import revoke as put_down
    from images.hosts.ca import revoked_path
    from images.hosts.certificates import survey

    if revoke:
        new = put_down(Path(spec), revoke)
        said = f"{revoke} {'is' if new else 'was already'} revoked in {revoked_path(Path(spec))}"
        emit(json, {"revoked": revoke, "changed": new}, said)
        return
    found = survey(_site(spec, store, provider), _note, renew=renew)
    lines = [certificate.line(datetime.now()) for certificate in found]
    data = [certificate.as_data() for certificate in found]
    emit(json, data, "\n".join(lines) or "no server runs")
