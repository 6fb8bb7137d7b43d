#!/usr/bin/python3
"""Loads the apps' images into Docker: only those that it does not have, all in one archive.

Runs at every boot before the apps; does nothing once all are there. An image is known by its tag
and by its digest, so a half loaded one is loaded again.
"""

import io
import json
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from . import state

IMAGES: Final = Path("/usr/lib/bakehouse/images")
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


def manifests(apps: list[dict[str, Any]], images: Path) -> dict[str, dict[str, Any]]:
    """For each app's image tag the descriptor of its manifest, read from `<app>.json`."""
    found = {}
    for app in apps:
        index = json.loads((images / f"{app['name']}.json").read_bytes())
        found[app["image"]] = index["manifests"][0]
    return found


def digests(descriptor: dict[str, Any], images: Path) -> list[str]:
    """Every blob of one image: its manifest, configuration and layers."""
    manifest = json.loads(blob(images, descriptor["digest"]).read_bytes())
    inner = [manifest["config"], *manifest["layers"]]
    return [descriptor["digest"], *(item["digest"] for item in inner)]


def blob(images: Path, digest: str) -> Path:
    """The file of a blob; `digest` is `sha256:…`."""
    return images / "blobs" / digest.replace(":", "/")


def write_archive(wanted: list[dict[str, Any]], images: Path, out: IO[bytes]) -> None:
    """One OCI archive of the wanted images, as a stream; a blob that several share goes once."""
    index = {"schemaVersion": 2, "manifests": wanted}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (
            ("oci-layout", LAYOUT),
            ("index.json", json.dumps(index).encode()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for digest in sorted({d for item in wanted for d in digests(item, images)}):
            path = blob(images, digest)
            info = tarfile.TarInfo(f"blobs/{digest.replace(':', '/')}")
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)


def loaded(tags: list[str]) -> dict[str, str]:
    """The digest that Docker knows for each of these tags; a tag that it lacks is left out."""
    command = ["docker", "image", "inspect", "--format", "{{json .}}", *tags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {}
    for line in filter(None, done.stdout.splitlines()):
        image = json.loads(line)
        found.update(dict.fromkeys(image["RepoTags"], image["Id"]))
    return found


def missing(wanted: dict[str, dict[str, Any]]) -> list[str]:
    """The tags that Docker lacks, or has with another content."""
    have = loaded(list(wanted)) if wanted else {}
    return [tag for tag, item in wanted.items() if have.get(tag) != item["digest"]]


def main() -> None:
    """Load what is missing. Raises ProgramError when an image is not there afterwards."""
    wanted = manifests(state.server()["apps"], IMAGES)
    todo = missing(wanted)
    if not todo:
        print(f"all {len(wanted)} images are there")
        return
    with subprocess.Popen(
        ["docker", "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as load:
        assert load.stdin is not None
        # Docker says by its exit code why it stopped reading.
        with suppress(BrokenPipeError):
            write_archive([wanted[tag] for tag in todo], IMAGES, load.stdin)
        with suppress(BrokenPipeError):
            load.stdin.close()
    left = missing(wanted)
    if left or load.returncode != 0:
        raise state.ProgramError(
            f"docker load ended with code {load.returncode}, not loaded: {left};"
            " look at: journalctl -u docker -u containerd"
        )
    print(f"loaded {len(todo)} of {len(wanted)} images")


if __name__ == "__main__":
    state.run_program(main)
