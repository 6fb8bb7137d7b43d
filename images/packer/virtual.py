"""`build-image --provider qemu`: Packer's qemu builder on a vendor's disk image, here."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from images import kvm, verify
from images.built import Built
from images.disk.chunks import digest
from images.home import Home, build_lock, clear_work, need_space
from images.locking import lock_of
from images.packer import folder, kept, process
from images.packer.supplies import lay_out
from images.packer.temporary import temporary, write_seed
from images.progress import Progress
from images.recipe import prepare
from specs.errors import UsageError
from specs.model import Spec

BUILDER = "qemu.image"
ROOM = 10_000_000_000
"""Bytes that a build takes at its height: packages twice, and the base as a raw disk."""


def build(spec: Spec, spec_file: Path, home: Home, progress: Progress, base: str) -> Built:
    """Provision the disk image `base` (a file that qemu-img can read) with the spec, prove it by
    booting it, store it as a generation.

    Raises BakehouseError when anything fails; the store is then as it was.
    """
    started = time.monotonic()
    disk = Path(base).absolute()
    if not base or not disk.is_file():
        raise UsageError(
            f"--base {base}: no such disk image",
            "name a vendor's image of Debian 13 (debian-13-generic-amd64.qcow2)",
        )
    with build_lock(home, f"build-image {spec.name}", progress.note):
        clear_work(home)
        need_space(home.root, ROOM, "a bake by Packer")
        with disk.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        lock = lock_of(spec, spec_file, home, progress)
        recipe = folder.provisioned(prepare(spec, spec_file, lock), checksum)
        built = kept.existing(recipe, home)
        if built is not None:
            return built
        at = home.work / "packer"
        lay_out(recipe, home, at, progress)
        server = temporary(recipe, at, with_host_key=False)
        accelerator = kvm.accelerator()
        chosen = {
            "qemu_base": str(disk),
            "qemu_checksum": f"sha256:{checksum}",
            "qemu_seed": str(write_seed(at, server.user_data)),
            "qemu_accelerator": "none" if accelerator == "tcg" else accelerator,
            "qemu_output": str(at / "output"),
            "ssh_private_key_file": str(server.key.private),
            "ssh_timeout": "30m",
            "verify": server.verify,
            "manifest": str(at / "manifest.json"),
        }
        with progress.stage("packer"):
            process.build(at, BUILDER, chosen, say=progress.say)
        raw = at / "output/image.raw"
        with progress.stage("verify"):
            report = verify.verify(
                raw,
                recipe.plan,
                kind="bios",
                image_id=recipe.id,
                digest=digest(raw).digest,
                vendor_base=True,
                say=progress.say,
            )
        image, generation = kept.keep(recipe, home, report, progress, raw=raw)
        clear_work(home)
        path = home.images / image.id / "image.raw"
        built = Built(image, generation, path, False, time.monotonic() - started)
    kept.told(home, built, progress)
    return built
