"""Users and SSH."""

from __future__ import annotations

from cloudinit.part import Part
from specs.plan import ImagePlan


def part(plan: ImagePlan) -> Part:
    """Time zone, locale, kernel settings, journal, and what a first boot may do."""
    return Part(commands=(f"ln -sf /usr/share/zoneinfo/{plan.system.timezone} /etc/localtime",))
