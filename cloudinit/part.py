"""What one section of a spec adds to `bake.yaml`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class File:
    """A text file in the image. `owner` is `user:group`, `mode` octal, as cloud-init wants it."""

    path: str
    content: str
    mode: str = "0644"
    owner: str = "root:root"


@dataclass(frozen=True, slots=True)
class Part:
    """Files, then shell lines, then systemd units to enable and to mask.

    `commands` run as one script per part under `set -e`, after the files of every part lie in
    place and every package and payload is there; no daemon runs then, and there is no network.
    """

    files: tuple[File, ...] = ()
    commands: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
