"""The CA that signs the SSH host keys of one spec's servers.

Whoever trusts it by one `@cert-authority` line meets no unknown host key after a swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.home import Home
from images.providers.base import FloatingIp, Server
from specs.model import Spec

VALIDITY: Final = 90 * 86_400
"""Seconds that a certificate is good for; each promote, and `invoke host-keys --renew`, renews."""


@dataclass(frozen=True, slots=True)
class HostCa:
    """`private` is the key's text and never shown; `public` the line of its .pub file."""

    private: str
    public: str


def open_ca(spec: Spec, spec_file: Path, home: Home) -> HostCa:
    """The spec's CA: from its secrets file when there is one, else from `<home>/ca/<spec>/`.

    Made at the first call. Raises UsageError when the secrets file cannot be opened.
    """
    raise NotImplementedError


def principals(spec: Spec, server: Server, floating: FloatingIp | None) -> tuple[str, ...]:
    """The names by which this server is called: its own, its addresses, the IP's, its sites'."""
    raise NotImplementedError


def sign_host_key(
    ca: HostCa, public: str, name: str, names: Sequence[str], serial: int, validity: int
) -> str:
    """The certificate, as a line, of the host key `public` for `names`, good for `validity` seconds.

    `name` is the key id by which it can be revoked: the server's, which no other server may have.
    """
    raise NotImplementedError


def known_hosts_line(ca: HostCa, names: Sequence[str]) -> str:
    """The one line for known_hosts by which a client trusts all servers of the spec."""
    raise NotImplementedError
