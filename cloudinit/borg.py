"""Backups with Borg: what is dumped and archived, when, and the wrapper for restores.

`docs/backup.md` tells how to restore.
"""

from __future__ import annotations

from typing import Final

from cloudinit.data import hardening
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.plan import ImagePlan

WRAPPER: Final = "/usr/local/sbin/bakehouse-borg"
"""Borg with this server's repository and passphrase, for a person."""

_VERBS: Final = {
    "backup": ("create", "Back up the databases and /data"),
    "backup-check": ("check", "Check the backup repository"),
}


def part(plan: ImagePlan) -> Part:
    """Two services and their timers; nothing when the spec has no backups."""
    borg = plan.borg
    if not borg:
        return Part()
    local = borg.repository.startswith("/")
    schedules = {"backup": borg.schedule, "backup-check": borg.check}
    values: dict[str, object] = {
        "secrets": layout.SECRETS,
        "hardening": hardening(),
        "repository": borg.repository.replace("%", "%%") if local else "",
        "version": plan.postgres.version if plan.postgres else "",
    }
    files = [File(WRAPPER, render("borg/bakehouse-borg.j2"), "0755")]
    for name, (verb, description) in _VERBS.items():
        unit = f"/etc/systemd/system/bakehouse-{name}"
        service = render("borg/backup.service.j2", verb=verb, description=description, **values)
        timer = render("borg/backup.timer.j2", description=description, schedule=schedules[name])
        files += [File(f"{unit}.service", service), File(f"{unit}.timer", timer)]
    return Part(
        files=tuple(files),
        enable=tuple(f"bakehouse-{name}.timer" for name in _VERBS),
    )
