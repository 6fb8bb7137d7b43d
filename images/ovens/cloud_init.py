"""Runs the real cloud-init of a tree on `bake.yaml`, and believes only its own report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from images.ovens import chamber
from images.run import CommandError
from specs.errors import BakehouseError

SEED: Final = "var/lib/cloud/seed/nocloud"
CONFIG: Final = "etc/cloud/cloud.cfg.d/99-bake.cfg"
SOCKETS: Final = "/run/cloud-init/share"
STAGES: Final = f"""
cloud-init --all-stages </dev/null &
all=$!
for stage in local network config final; do
    until [ -S {SOCKETS}/$stage.sock ]; do sleep 0.01; done
    echo start | nc -Uu -W1 -s {SOCKETS}/$stage-return.sock {SOCKETS}/$stage.sock
done >/dev/null &
wait $all
"""
"""The four boot stages in one process, each told to start as its systemd unit does it (cloud-init:
`cloudinit/socket.py`, `systemd/cloud-init-local.service`)."""


def run_bake(
    root: Path,
    document: str,
    *,
    binds: Mapping[str, Path],
    epoch: int,
    say: Callable[[str], None],
) -> None:
    """Execute `document` in the tree `root`.

    Raises BakehouseError with cloud-init's own words when anything in it failed, also what
    cloud-init itself thinks it recovered from.
    """
    (root / SEED).mkdir(parents=True, exist_ok=True)
    (root / SEED / "user-data").write_text(document, encoding="utf-8")
    (root / SEED / "meta-data").write_text("instance-id: bake\n", encoding="utf-8")
    (root / CONFIG).write_text(
        "datasource_list: [NoCloud]\nnetwork: {config: disabled}\n", encoding="utf-8"
    )
    try:
        chamber.enter(
            root,
            ["sh", "-ec", f"{STAGES}cp /run/cloud-init/status.json /var/lib/cloud/bake.json"],
            binds=binds,
            env={"SOURCE_DATE_EPOCH": str(epoch)},
            on_line=say,
        )
    except CommandError as error:
        raise BakehouseError(
            f"cloud-init stopped while baking\n{_failures(root) or error.message}",
            "the lines above are the bake's own; `invoke render` shows the document",
        ) from error
    failures = _failures(root)
    if failures:
        raise BakehouseError(
            f"cloud-init reports failures while baking\n{failures}",
            "the lines above are the bake's own; `invoke render` shows the document",
        )


def _failures(root: Path) -> str:
    """What cloud-init's status file holds against the bake, and the end of its log."""
    file = root / "var/lib/cloud/bake.json"
    status: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    wrong = []
    for name, stage in sorted(status.get("v1", {}).items()):
        if isinstance(stage, dict):
            wrong += [f"{name}: {text}" for text in stage.get("errors", [])]
            for level, texts in sorted(stage.get("recoverable_errors", {}).items()):
                wrong += [f"{name}: {level}: {text}" for text in texts]
    if not wrong and status:
        return ""
    log = root / "var/log/cloud-init-output.log"
    tail = log.read_text(errors="replace").splitlines()[-40:] if log.exists() else []
    return "\n".join([*wrong, *tail])
