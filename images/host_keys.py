"""A server's SSH host key: verified at the first contact, then one of its own, signed by the CA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from images.host_ca import HostCa
from images.ssh import Door


@dataclass(frozen=True, slots=True)
class FirstKey:
    """A throwaway host key pair for one new server: `private` goes into `ServerPlan.first_key`."""

    private: str
    public: str


def make_first_key() -> FirstKey:
    """A new pair, on no disk. Call before the server is made; give `public` to `trust`."""
    raise NotImplementedError


def trust(door: Door, public: str) -> None:
    """Trust this host key, and no other, behind this door."""
    raise NotImplementedError


def certify(door: Door, ca: HostCa, name: str, names: Sequence[str], first: bool = False) -> None:
    """Give the server a fresh certificate, and with `first` a host key of its own before that.

    With `first` the server makes the key itself (the private half never leaves it), and the door
    trusts that one from then on, no longer the throwaway. Safe to repeat after a kill anywhere.
    `name` is the server's, `names` are `host_ca.principals`.
    """
    raise NotImplementedError
