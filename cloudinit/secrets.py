"""Secrets on a server: the unit that lays them into memory at each boot, before who reads them."""

from __future__ import annotations

from typing import Final

from cloudinit.data import hardening
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.plan import ImagePlan

UNIT: Final = "bakehouse-secrets.service"


def part(_: ImagePlan) -> Part:
    """One unit; it does nothing before the first delivery has left something to open."""
    text = render(
        "secrets/secrets.service.j2",
        sealed=layout.SEALED_SECRETS,
        run=layout.RUN,
        hardening=hardening(),
    )
    return Part(files=(File(f"/etc/systemd/system/{UNIT}", text),), enable=(UNIT,))
