"""ServerPlan → `boot.yaml`: what one server learns at its first boot, and no secret.

A throwaway host key is none: the server replaces it at the first contact.

The image's own list of modules (`templates/system/cloud.cfg.j2`) says what cloud-init does with
it. A second run, even as another instance, finds the same or writes the same: the network is kept
once it worked (`bakehouse-keep-network.service`), host keys are made by a unit of the image, and
people are part of the image.
"""

from __future__ import annotations

import json
from ipaddress import ip_network

from cloudinit.access import KEYS
from cloudinit.document import Value, dump
from cloudinit.template import render
from specs import layout
from specs.plan import ServerPlan


def boot(plan: ServerPlan) -> str:
    """The text of `boot.yaml`, user data of a cloud as well as of a NoCloud seed."""
    files = [_file(layout.BOOT_JSON, boot_json(plan))]
    if plan.operator_keys:
        keys = "".join(f"{key}\n" for key in plan.operator_keys)
        files.append(_file(f"{KEYS}/{plan.admin}.boot", keys))
    if plan.floating_ips:
        addresses = [str(ip_network(address)) for address in plan.floating_ips]
        files.append(
            _file(layout.FLOATING, render("boot/floating.network.j2", addresses=addresses))
        )
    if plan.first_key:
        files.append(_file(layout.FIRST_HOST_KEY, plan.first_key, "0600"))
    return dump(
        {
            "hostname": plan.hostname,
            "manage_etc_hosts": "localhost",
            "growpart": {"mode": "auto", "devices": ["/"]},
            "resize_rootfs": True,
            "write_files": files,
        }
    )


def boot_json(plan: ServerPlan) -> str:
    """What our programs on the server read: `layout.BOOT_JSON`."""
    data = {
        "role": plan.role,
        "generation": plan.generation,
        "image": plan.image_id,
        "hostname": plan.hostname,
        "may_init": plan.may_init,
    }
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def _file(path: str, content: str, mode: str = "0644") -> Value:
    return {"path": path, "owner": "root:root", "permissions": mode, "content": content}
