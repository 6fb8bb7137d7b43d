"""What every server has for its data and our programs: `/data`, folders in memory, a package."""

from __future__ import annotations

from typing import Final

from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.plan import ImagePlan

PACKAGE: Final = "/usr/lib/python3/dist-packages/bakehouse"
"""Debian's folder for Python packages, which `python3 -I` still looks into."""


def part(plan: ImagePlan) -> Part:
    """Folders at every boot, and `python3 -IB -m bakehouse.NAME` for our programs."""
    return Part(
        files=(
            File(
                "/etc/tmpfiles.d/bakehouse.conf",
                render(
                    "data/tmpfiles.conf.j2",
                    data=layout.DATA,
                    run=layout.RUN,
                    paths=[quoted(path) for path in plan.data.paths],
                ),
            ),
        ),
        commands=(f"mkdir -p {layout.DATA}", f"ln -sfnT {layout.LIB} {PACKAGE}"),
    )


def quoted(path: str) -> str:
    """A path for tmpfiles.d, where `%` and `\\` mean something and a space ends it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def hardening() -> str:
    """The lines of a unit's `[Service]` that all our own services share."""
    return render("data/hardening.j2").rstrip("\n")
