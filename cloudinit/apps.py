"""Apps: one compose file each, one systemd unit each, and the watch that restarts containers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from cloudinit.data import hardening
from cloudinit.docker import RUNTIME, network
from cloudinit.facts import image_tag
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.model import App
from specs.plan import ImagePlan

NONROOT: Final = "65532:65532"
"""Who a built app runs as when the spec does not say; the account in `images.oci` images."""

OWN_USER_CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
"""For an image that starts as root and gives it up by itself, as most on public registries do:
what it takes to own its volume and to change the user. Everyone else has none."""

PROCESSES: Final = 1024
"""Processes and threads of one container; a fork bomb ends there and not at the server's limit."""

TEMPORARY: Final = "256m"
"""Size of /tmp, in memory, of an app whose image is read-only."""

GRACE: Final = 30
"""Seconds from SIGTERM to SIGKILL."""

SENT_AGAIN: Final[Mapping[str, str]] = {"net.ipv4.tcp_thin_linear_timeouts": "1"}
"""For apps whose answers a swap may hold back (`images/server/late.py`): TCP tries again each 0.2 s
for a second, and not after twice the time at each try (Linux: Documentation/networking/ip-sysctl),
so an answer goes out soon after it may."""


def part(plan: ImagePlan) -> Part:
    """Compose files and units of every app; nothing when the spec has none."""
    if not plan.apps:
        return Part()
    units = "/etc/systemd/system"
    files = [
        File(
            f"{units}/bakehouse-app@.service", render("apps/app.service.j2", hardening=hardening())
        ),
        File(
            f"{units}/bakehouse-watch.service",
            render("apps/watch.service.j2", hardening=hardening()),
        ),
    ]
    for index, app in enumerate(plan.apps):
        folder = f"{layout.ETC}/apps/{app.name}"
        files.append(File(f"{folder}/compose.yaml", compose_yaml(plan, index), mode="0640"))
        if app.kind == "worker":
            files.append(
                File(
                    f"{units}/bakehouse-app@{app.name}.service.d/worker.conf",
                    render("apps/worker.conf.j2"),
                )
            )
    enable = tuple(f"bakehouse-app@{app.name}.service" for app in plan.apps)
    return Part(files=tuple(files), enable=(*enable, "bakehouse-watch.service"))


def compose_yaml(plan: ImagePlan, index: int) -> str:
    """The compose file of the app with this index. It is JSON, which is YAML without surprises."""
    app, docker = plan.apps[index], plan.docker
    assert docker is not None  # validation: a spec with apps has Docker
    services = {
        f"{app.name}-{replica + 1}": _service(plan, app, index, replica)
        for replica in range(app.replicas)
    }
    project = {
        "name": app.name,
        "services": services,
        "networks": {
            "default": {
                "driver_opts": {"com.docker.network.bridge.name": f"br-app{index}"},
                "ipam": {"config": [{"subnet": str(network(docker, index + 1))}]},
            }
        },
    }
    return json.dumps(project, indent=1, sort_keys=True) + "\n"


def _service(plan: ImagePlan, app: App, index: int, replica: int) -> dict[str, Any]:
    """One replica. Docker never restarts it: `images/server/watch_apps.py` says why."""
    name = f"{app.name}-{replica + 1}"
    user = app.user or (NONROOT if app.build else "")
    service: dict[str, Any] = {
        "container_name": name,
        "hostname": name,
        "image": image_tag(plan, app),
        "pull_policy": "never",
        "restart": "no",
        "init": True,
        "stop_grace_period": f"{GRACE}s",
        "labels": {"bakehouse.app": app.name},
        "environment": {key: _plain(value) for key, value in app.environment.items()},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": PROCESSES,
        "ports": _ports(app, index, replica),
        "volumes": _volumes(app),
    }
    if app.volumes and app.port:
        service["sysctls"] = dict(SENT_AGAIN)
    if user:
        service["user"] = user
    else:
        service["cap_add"] = list(OWN_USER_CAPABILITIES)
    if app.secret_environment:
        service["runtime"] = RUNTIME
        service["environment"]["BAKEHOUSE_APP"] = app.name
    if app.database:
        service["env_file"] = [f"{layout.RUN}/apps/{app.name}.env"]
    if app.command and not app.build:
        service["command"] = [_plain(word) for word in app.command]
    if app.memory:
        service["mem_limit"] = service["memswap_limit"] = app.memory
    if app.read_only:
        service["read_only"] = True
        service["tmpfs"] = [f"/tmp:mode=1777,size={TEMPORARY}"]  # noqa: S108  a memory of its own
    return service


def _plain(text: str) -> str:
    """Compose would put variables of its own environment in the place of `$NAME`."""
    return text.replace("$", "$$")


def _ports(app: App, index: int, replica: int) -> list[str]:
    """The replica's loopback port for Caddy; what the outside may reach goes to the first one."""
    ports = []
    if app.port:
        ports.append(f"127.0.0.1:{layout.app_ports(index, app.replicas)[replica]}:{app.port}")
    if replica == 0:
        ports += [f"0.0.0.0:{p.port}:{p.target}/{p.protocol}" for p in app.publish]
    return ports


def _volumes(app: App) -> list[dict[str, Any]]:
    mounts = [
        (f"{layout.DATA}/apps/{app.name}/{volume}", target, False)
        for volume, target in sorted(app.volumes.items())
    ]
    if app.secrets:
        mounts.append((f"{layout.RUN}/apps/{app.name}/secrets", "/run/secrets", True))
    return [
        {
            "type": "bind",
            "source": source,
            "target": _plain(target),
            "read_only": read_only,
            "bind": {"create_host_path": False},
        }
        for source, target, read_only in mounts
    ]
