"""The first deployment: the one time that a server may make an empty database.

Lost labels look like a first deployment, so everything that could hold data is asked first. A spec
whose servers are lost begins anew with its newest backup (verb `restore`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from images.history import Journal
from images.hosts.certificates import renew_all
from images.progress import Progress
from images.promote import outside, pair, records, volume
from images.promote.goal import Goal
from images.promote.job import Job, Site
from images.promote.lease import Lease, LostLeaseError
from images.promote.reach import Contact, UnreachableError, last_line
from images.promote.runs import Outcome, leased, refuse_unfinished
from images.secrets.deliver import deliver
from images.ssh import NO_CONNECTION
from specs.errors import BakehouseError, UsageError

CERTIFICATES: Final = 60.0
"""Seconds after which a name that has no certificate yet is taken for one that leads elsewhere."""


class NotFirstError(BakehouseError):
    """There may be data already."""


def promote_first(wanted: Job, progress: Progress) -> Outcome:
    """Make the first server of a spec. Raises NotFirstError when anything speaks against that.

    A run that was cut short comes first, unless nothing is left of what it worked on.
    """
    site = wanted.site
    if wanted.verb == "restore" and wanted.plan.image.borg is None:
        raise UsageError(f"{wanted.image.id} has no section borg, so no backup can be restored")
    found = traces(site)
    if found:
        refuse_unfinished(site)
        raise NotFirstError(
            f"{site.name} may have data already: {'; '.join(found)}",
            "`invoke promote` swaps what serves; to begin anew, delete by hand what is named here",
        )
    secrets = wanted.secrets()
    with leased(site, Goal(wanted, "").labels()) as (lease, log):
        return deploy(wanted, secrets, lease, log, progress)


def traces(site: Site) -> list[str]:
    """What at the provider could belong to an earlier deployment."""
    provider = site.provider
    holder = provider.floating_ip(site.floating_ip).server
    return [
        *([f"the floating IP is assigned to {holder}"] if holder else []),
        *(f"there is the server {server.name}" for server in provider.servers(site.name)),
        *(f"there is the volume {volume.name}" for volume in provider.volumes(site.name)),
    ]


def deploy(
    wanted: Job, secrets: Mapping[str, str], lease: Lease, log: Journal, progress: Progress
) -> Outcome:
    """Server, secrets, health, then the IP. A server that fails before it got the IP is deleted."""
    site, provider, began = wanted.site, wanted.site.provider, time.monotonic()
    log.write(lease.epoch, "began", said=f"first deployment, generation {wanted.generation}")
    old = next(iter(provider.servers(site.name)), None)
    lease.check()
    provider.create_floating_ip(site.floating_ip)
    with progress.stage("make the server"):
        server = old or provider.create_server(wanted.order(lease.epoch, "primary", may_init=True))
        contact = site.contact(server)
    fresh = provider.floating_ip(site.floating_ip).server != server.id
    try:
        prepare(wanted, contact, secrets, lease.epoch, progress, fresh=fresh)
    except LostLeaseError:
        raise
    except BakehouseError as error:
        log.write(lease.epoch, "failed", said=error.message)
        if fresh:
            lease.check()
            provider.delete_server(server.id)
            for made in provider.volumes(site.name):  # there was none before this run
                provider.delete_volume(made.name)
            log.write(lease.epoch, "ended", said=f"deleted {server.name}")
            lease.release()
        raise
    lease.check()
    with progress.stage("floating IP"):
        provider.assign(site.floating_ip, server.id)
        notes = await_users(wanted)
    log.write(lease.epoch, "ended", said=f"{server.name} serves")
    lease.release()
    seconds = time.monotonic() - began
    if provider.name != "local":
        notes = (*notes, f"keep a copy of {site.home.operator}, whose key opens the servers")
    return Outcome(wanted.generation, server.name, None, seconds=seconds, notes=notes)


def prepare(
    wanted: Job,
    contact: Contact,
    secrets: Mapping[str, str],
    epoch: int,
    progress: Progress,
    *,
    fresh: bool,
) -> None:
    """The server runs with its secrets, and with the newest backup, or there is none.

    `fresh` says that it never had the floating IP: else what is in it is newer than any backup, and
    a backup is its own. Raises BakehouseError when not.
    """
    with progress.stage("first boot"):
        pair.wait_for(contact)
    with progress.stage("secrets"):
        deliver(contact.door, secrets)
        records.leave(wanted.site.home, contact, wanted.image.id)
        renew_all(wanted.site, progress.note, contact)
    if wanted.strategy == "volume":
        with progress.stage("volume"):
            volume.begin(wanted.site, contact, epoch)
    if wanted.verb == "restore" and fresh:
        with progress.stage("restore"):
            restore(contact, progress)
    elif wanted.plan.image.borg is not None and fresh:
        with progress.stage("backups of earlier servers"):
            refuse_backups(wanted.site.name, contact, progress)
    with progress.stage("apps"):
        pair.settle(contact)


def restore(contact: Contact, progress: Progress) -> None:
    """The newest backup is in the server. Raises BakehouseError when it could not be restored."""
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        progress.say(line)

    code = contact.follow("restore", on_line=tell)
    why = last_line("\n".join(told))
    if code == NO_CONNECTION:
        raise UnreachableError(f"{contact.name} was lost while it restored the backup: {why}")
    if code != 0:
        raise BakehouseError(
            f"{contact.name} could not restore the newest backup: {why}",
            "run it again once the reason is gone; docs/backup.md has the steps by hand",
        )
    progress.note(f"{contact.name} restored the newest backup: {why}")


def refuse_backups(name: str, contact: Contact, progress: Progress) -> None:
    """Raises NotFirstError when the backup repository holds archives of the spec `name`. One that
    cannot be asked is told: it may not exist yet."""
    ours = f"--glob-archives='{name}-????-??-??T??:??:??'"
    line = f"timeout 60 python3 -IB -m bakehouse.backup borg list --short --last=1 {ours}"
    done = contact.shell(line, timeout=90)
    if done.code == 0 and done.stdout.strip():
        raise NotFirstError(
            f"the backup repository holds archives, the last one {done.stdout.strip()}",
            "`invoke promote --first --restore` begins with it; else name another repository",
        )
    if done.code != 0:
        progress.note("the backup repository could not be asked whether it is empty")


def await_users(wanted: Job) -> tuple[str, ...]:
    """Wait until users get good answers through the IP; what the person must do yet.

    The IP is new, so the domain's records may not name it, and then no certificate can be had: a
    site that only lacks that is told of. Raises BakehouseError for answers that are wrong.
    """
    site = wanted.site
    ip = site.provider.floating_ip(site.floating_ip)
    asked = outside.questions(wanted.plan.image, ip, health=True)
    plain = outside.by_http(wanted.plan.image, ip)
    began = time.monotonic()
    while wrong := outside.wrong(site.provider, asked, wanted.generation):
        waited = time.monotonic() - began
        lacking = waited > CERTIFICATES and all(map(outside.lacks_certificate, wrong))
        if lacking and not outside.wrong(site.provider, plain, wanted.generation):
            addresses = " and ".join(address for address in (ip.v4, ip.v6) if address)
            return (
                f"no certificate yet ({wrong[0]}): let the domain's records name {addresses},"
                " then Caddy gets one by itself",
            )
        if waited > pair.SETTLE:
            raise BakehouseError(
                f"the first server is up, but users see: {wrong[0]}",
                "`invoke status`; `invoke promote --resume` looks again",
            )
        time.sleep(0.5)
    return ()
