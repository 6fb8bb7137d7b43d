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
    volume = plan.data.strategy == "volume"
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
            *(_volume(plan) if volume else (_bound(),)),
        ),
        commands=(f"mkdir -p {layout.DATA}", f"ln -sfnT {layout.LIB} {PACKAGE}"),
        enable=("bakehouse-data.service",) if volume else ("data.mount",),
    )


def _bound() -> File:
    """On the server's own disk: the folder once more over itself, with a volume's limits."""
    text = render("data/data.mount.j2", data=layout.DATA)
    return File("/etc/systemd/system/data.mount", text)


def _volume(plan: ImagePlan) -> tuple[File, ...]:
    """The unit that mounts it, and for all that uses /data the condition that it is mounted."""
    units = "/etc/systemd/system"
    condition = render("data/volume.conf.j2", data=layout.DATA)
    return (
        File(f"{units}/bakehouse-data.service", render("data/volume.service.j2")),
        *(File(f"{units}/{unit}.d/volume.conf", condition) for unit in data_users(plan)),
    )


def data_users(plan: ImagePlan) -> list[str]:
    """Units that need what is in /data; `images/server/volume.py` stops them. Backups ask for the
    role, and find that there is nothing to do."""
    found = ["bakehouse-app@.service"] if plan.apps else []
    found += ["caddy.service"] if plan.caddy else []
    if plan.postgres:
        found += ["bakehouse-cluster.service", "bakehouse-databases.service", "pgbouncer.service"]
        found.append(f"postgresql@{plan.postgres.version}-main.service")
    return found


def quoted(path: str) -> str:
    """A path for tmpfiles.d, where `%` and `\\` mean something and a space ends it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def hardening() -> str:
    """The lines of a unit's `[Service]` that all our own services share."""
    return render("data/hardening.j2").rstrip("\n")
