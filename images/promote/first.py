"""The first deployment: the one time that a server may make an empty database.

Lost labels look like a first deployment, so everything that could hold data is asked first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from images.history import Journal
from images.hosts.certificates import renew_all
from images.progress import Progress
from images.promote import outside, pair, records, volume
from images.promote.goal import Goal
from images.promote.job import Job, Site
from images.promote.lease import Lease, LostLeaseError
from images.promote.reach import Contact
from images.promote.runs import Outcome, leased, refuse_unfinished
from images.secrets.deliver import deliver
from specs.errors import BakehouseError


class NotFirstError(BakehouseError):
    """There may be data already."""


def promote_first(wanted: Job, progress: Progress) -> Outcome:
    """Make the first server of a spec. Raises NotFirstError when anything speaks against that."""
    site = wanted.site
    refuse_unfinished(site)
    found = traces(site)
    if found:
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
    try:
        prepare(wanted, contact, secrets, lease.epoch, progress)
    except LostLeaseError:
        raise
    except BakehouseError as error:
        log.write(lease.epoch, "failed", said=error.message)
        if provider.floating_ip(site.floating_ip).server != server.id:
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
        await_users(wanted)
    log.write(lease.epoch, "ended", said=f"{server.name} serves")
    lease.release()
    return Outcome(wanted.generation, server.name, None, seconds=time.monotonic() - began)


def prepare(
    wanted: Job, contact: Contact, secrets: Mapping[str, str], epoch: int, progress: Progress
) -> None:
    """The server runs with its secrets, and no backup of an earlier one exists.

    Raises BakehouseError when not.
    """
    with progress.stage("first boot"):
        pair.wait_for(contact)
    with progress.stage("secrets"):
        deliver(contact.door, secrets)
        records.leave(wanted.site.home, contact, wanted.image.id)
        renew_all(wanted.site, contact)
    if wanted.strategy == "volume":
        with progress.stage("volume"):
            volume.begin(wanted.site, contact, epoch)
    if wanted.plan.image.borg is not None:
        with progress.stage("backups of earlier servers"):
            refuse_backups(contact, progress)
    with progress.stage("apps"):
        pair.settle(contact)


def refuse_backups(contact: Contact, progress: Progress) -> None:
    """Raises NotFirstError when the backup repository holds archives. One that cannot be asked is
    told: it may not exist yet."""
    line = "timeout 60 python3 -IB -m bakehouse.backup borg list --short --last 1"
    done = contact.shell(line, timeout=90)
    if done.code == 0 and done.stdout.strip():
        raise NotFirstError(
            f"the backup repository holds archives, the last one {done.stdout.strip()}",
            "restore it (docs/backup.md), or name an empty repository",
        )
    if done.code != 0:
        progress.note("the backup repository could not be asked whether it is empty")


def await_users(wanted: Job) -> None:
    """Wait until users get good answers through the IP. Raises BakehouseError when they do not."""
    site = wanted.site
    ip = site.provider.floating_ip(site.floating_ip)
    asked = outside.questions(wanted.plan.image, ip, health=True)
    deadline = time.monotonic() + pair.SETTLE
    while wrong := outside.wrong(site.provider, asked, wanted.generation):
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"the first server is up, but users see: {wrong[0]}",
                "`invoke status`; `invoke promote --resume` looks again",
            )
        time.sleep(0.5)
