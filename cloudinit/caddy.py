"""Caddy: every site of the spec, its unit, and the role's part of the configuration at boot."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from cloudinit.data import hardening
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.model import Site
from specs.plan import ImagePlan

ANY_NAME: Final = (":80", "http://", "http://:80")
"""How an address says: any host name, without HTTPS."""


def part(plan: ImagePlan) -> Part:
    """The Caddyfile and Caddy's unit; nothing when the spec has no `caddy`."""
    if not plan.caddy:
        return Part()
    return Part(
        files=(
            File("/etc/caddy/Caddyfile", caddyfile(plan)),
            File(
                "/etc/systemd/system/caddy.service",
                render("caddy/caddy.service.j2", hardening=hardening(), data=layout.DATA),
            ),
        ),
        enable=("caddy.service",),
        mask=("caddy-api.service",),
    )


def caddyfile(plan: ImagePlan) -> str:
    """`/etc/caddy/Caddyfile`, for Caddy 2.6.

    `BAKEHOUSE_CADDY_GLOBAL` and `BAKEHOUSE_GENERATION` in it come from the environment, which
    `images/server/caddy_env.py` writes from what the server learnt at its first boot.
    """
    assert plan.caddy is not None
    root = ""
    if plan.caddy.acme_root:
        folder = plan.payload("files/acme-root").target
        root = f"{folder}/{PurePosixPath(plan.caddy.acme_root).name}"
    return render(
        "caddy/Caddyfile.j2",
        data=layout.DATA,
        email=quoted(plan.caddy.email),
        acme_directory=quoted(plan.caddy.acme_directory),
        acme_root=quoted(root),
        sites=[_site(plan, site) for site in plan.caddy.sites],
        any_app=any(site.app for site in plan.caddy.sites),
        any_name=any(site.address in ANY_NAME for site in plan.caddy.sites),
    )


def quoted(value: str) -> str:
    """One token of a Caddyfile that means exactly `value`; empty stays empty.

    Between double quotes only a quote is special; braces are placeholders everywhere unless a
    backslash stands before them. `kinds.HEADER_VALUE` and its like refuse what cannot be written:
    a backslash, which may stand before a quote, and `{$`, replaced before quotes are read.
    """
    if not value:
        return ""
    return '"' + value.replace('"', '\\"').replace("{", "\\{") + '"'


def _site(plan: ImagePlan, site: Site) -> dict[str, Any]:
    https = not site.address.startswith(("http://", ":"))
    found: dict[str, Any] = {
        "names": [
            site.address,
            *(alias if https or "://" in alias else f"http://{alias}" for alias in site.aliases),
        ],
        "https": https,
        "headers": [(name, quoted(value)) for name, value in sorted(site.headers.items())],
        "compress": site.compress and not site.redirect,
        "redirect": _redirect(site.redirect),
        "root": quoted(plan.payload(f"static/{site.address}").target) if site.static else "",
        "upstreams": [],
        "health": "",
        "keepalive": "1s",
    }
    for index, app in enumerate(plan.apps):
        if app.name == site.app:
            ports = layout.app_ports(index, app.replicas)
            found["upstreams"] = [f"127.0.0.1:{port}" for port in ports]
            found["health"] = quoted(app.health)
            # A kept connection could not be held while a swap carries the app's files.
            found["keepalive"] = "off" if app.volumes else "1s"
    return found


def _redirect(target: str) -> str:
    """A target without a path of its own keeps the path and query that were asked for."""
    if not target:
        return ""
    parts = urlsplit(target)
    if parts.path in ("", "/") and not parts.query and not parts.fragment:
        return quoted(target.rstrip("/"))[:-1] + '{uri}"'
    return quoted(target)
