"""Docker: the daemon's settings, its unit without waits for the network, the images at boot."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Final

from cloudinit.data import hardening
from cloudinit.part import File, Part
from cloudinit.template import render
from specs.model import Docker
from specs.plan import ImagePlan

RUNTIME: Final = "bakehouse"
"""Docker's name for runc with secret environments, which `images/server/runtime.py` adds."""

RUNTIME_PROGRAM: Final = "/usr/local/libexec/bakehouse-runc"


def part(plan: ImagePlan) -> Part:
    """dockerd's configuration and units; nothing when the spec has neither Docker nor apps."""
    if not plan.docker:
        return Part()
    return Part(
        files=(
            File("/etc/docker/daemon.json", daemon_json(plan.docker)),
            File("/etc/systemd/system/docker.service", render("docker/docker.service.j2")),
            File(RUNTIME_PROGRAM, render("docker/runc.sh.j2"), "0755"),
            File(
                "/etc/systemd/system/bakehouse-images.service",
                render("docker/images.service.j2", hardening=hardening()),
            ),
        ),
        enable=("containerd.service", "docker.service", "bakehouse-images.service"),
    )


def daemon_json(docker: Docker) -> str:
    """`/etc/docker/daemon.json`.

    - containerd's image store: the classic one cannot load an OCI layout.
    - No userland proxy: it accepts a connection before it knows whether the container still does,
      so Caddy could not tell a dead replica from one that failed, and would not try the next one
      with a POST. It also costs a process for each port.
    - Live restore: a restart of dockerd leaves the apps running.
    - What somebody publishes by hand binds to loopback unless they say otherwise, and containers
      on the default bridge do not reach each other.
    """
    settings = {
        "bip": f"{network(docker, 0)[1]}/24",
        "default-address-pools": [{"base": docker.subnet, "size": 24}],
        "features": {"containerd-snapshotter": True},
        "icc": False,
        "ip": "127.0.0.1",
        "live-restore": True,
        "log-driver": "local",
        "log-opts": {"max-file": str(docker.log_files), "max-size": docker.log_size},
        "no-new-privileges": True,
        "runtimes": {RUNTIME: {"path": RUNTIME_PROGRAM}},
        "userland-proxy": False,
    }
    return json.dumps(settings, indent=1, sort_keys=True) + "\n"


def network(docker: Docker, number: int) -> IPv4Network:
    """The /24 with this number in `docker.subnet`: 0 is the default bridge's, then one per app.

    Raises IndexError when the subnet has not that many; validation has counted them before.
    """
    whole = IPv4Network(docker.subnet)
    if number >= whole.num_addresses // 256:
        raise IndexError(f"{docker.subnet} has no /24 with number {number}")
    return IPv4Network((int(whole.network_address) + 256 * number, 24))
