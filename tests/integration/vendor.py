"""A stand-in for a vendor's own Debian image: packages as they come, with cloud-init's defaults.

And the tools layer of such a bake.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from images import archive, disk
from images.home import Home, build_lock, clear_work
from images.locking import lock_of
from images.mounts import overlay
from images.ovens import install, layers
from images.ovens.job import Job
from images.progress import Progress
from images.recipe import prepare
from images.run import run
from specs.read import read
from tests.integration.disks import made

SPEC = "name: vendor\n"
"""What every server has and nothing more: the layers below a bake, not the bake."""

UNITS = ("systemd-networkd.service", "systemd-resolved.service", "ssh.service")
RESOLV = "../run/systemd/resolve/stub-resolv.conf"


@dataclass(frozen=True)
class Vendor:
    """Such an image, unpacked: `tree` is the whole, `upper` what was switched on in it."""

    job: Job
    tree: Path
    upper: Path


def vendor_tree(home: Home, to: Path) -> Path:
    """The files of such an image as the new folder `to`. Needs root."""
    with _laid_out(home, to) as found:
        run(["cp", "--archive", str(found.tree), str(to)])
    return to


def vendor_disk(home: Home, to: Path) -> Path:
    """Such an image as the new raw disk `to`, which boots by BIOS and UEFI. Needs root."""
    with _laid_out(home, to) as found:
        job = found.job
        tools, stack = layers.other(job, "tools"), layers.server(job)
        with layers.whole(job, "tools") as tree:
            base = layers.base(stack, disk.Tools(tools.id, tree))
            made(base, found.upper, to, home.bases, epoch=job.lock.epoch)
    return to


def tools(home: Home, to: Path) -> Path:
    """A copy of the tools layer, of the release's present packages, as the new folder `to`."""
    with _job(home, to) as job:
        install.core(job)
        layers.other(job, "tools")
        with layers.whole(job, "tools") as tree:
            run(["cp", "--archive", str(tree), str(to)])
    return to


@contextmanager
def _laid_out(home: Home, to: Path) -> Iterator[Vendor]:
    """systemd, cloud-init, SSH and a network that asks for its address; no file of ours."""
    with _job(home, to) as job:
        stack = layers.server(job)
        scratch = home.work / "vendor"
        upper = scratch / "upper"
        with overlay([layer.tree for layer in stack.values()], upper, scratch) as tree:
            run(["systemctl", f"--root={tree}", "enable", *UNITS])
            (tree / "etc/resolv.conf").unlink(missing_ok=True)
            (tree / "etc/resolv.conf").symlink_to(RESOLV)
            yield Vendor(job, tree, upper)


@contextmanager
def _job(home: Home, to: Path) -> Iterator[Job]:
    """A bake of `SPEC` up to its packages; files beside `to` take its name."""
    file = to.with_suffix(".yaml")
    file.write_text(SPEC, encoding="utf-8")
    spec, progress = read(file), Progress()
    with build_lock(home, "vendor", progress.note):
        clear_work(home)
        lock = lock_of(spec, file, home, progress)
        job = Job(prepare(spec, file, lock), lock, home, progress.say)
        archive.fetch(spec.system, lock, home, job.say)
        yield job
        clear_work(home)
