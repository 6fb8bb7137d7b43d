"""What users see, asked from where they are: which generation answers, and whether apps are well.

Nothing here trusts the servers: `curl` goes through the floating IP, in both families.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final

from images.providers.base import FloatingIp, Provider
from images.run import run
from specs.errors import BakehouseError
from specs.model import Site
from specs.plan import ImagePlan

PATIENCE: Final = 5
"""Seconds that one answer may take."""

ADDRESS: Final = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>[^:/]*)(?::(?P<port>\d+))?/?")


@dataclass(frozen=True, slots=True)
class Question:
    """One request. With `generation` the answer must name it, else any 2xx or 3xx will do."""

    shown: str
    argv: tuple[str, ...]
    generation: bool


def questions(plan: ImagePlan, ip: FloatingIp, *, health: bool = False) -> list[Question]:
    """Which generation answers at the first site, by each family; `health` adds every app's check.

    Empty for a server without sites: its provider's word is all there is.
    """
    sites = plan.caddy.sites if plan.caddy else ()
    asked = [(sites[0], "/.well-known/bakehouse", True)] if sites else []
    if health:
        checks = {app.name: app.health for app in plan.apps if app.health}
        asked += [(site, checks[site.app], False) for site in sites if site.app in checks]
    addresses = [address for address in (ip.v4, ip.v6) if address]
    return [_question(site, path, a, wanted) for site, path, wanted in asked for a in addresses]


def by_http(plan: ImagePlan, ip: FloatingIp) -> list[Question]:
    """Whether the first site with a name answers at all, without a certificate: Caddy leads from
    HTTP to HTTPS as soon as it runs (Caddy documentation, "Automatic HTTPS")."""
    named = [site for site in (plan.caddy.sites if plan.caddy else ()) if _parts(site)["host"]]
    addresses = [address for address in (ip.v4, ip.v6) if address]
    plain = [replace(site, address=f"http://{_parts(site)['host']}") for site in named[:1]]
    return [_question(site, "/", address, False) for site in plain for address in addresses]


def lacks_certificate(reason: str) -> bool:
    """Whether an answer was wrong for the lack of a certificate alone."""
    return re.search(r"\b(TLS|SSL)\b", reason) is not None


def _question(site: Site, path: str, address: str, generation: bool) -> Question:
    match = _parts(site)
    bracketed = f"[{address}]" if ":" in address else address
    host = match["host"]
    scheme = match["scheme"] or ("https" if host else "http")
    port = match["port"] or {"https": "443", "http": "80"}[scheme]
    url = f"{scheme}://{host or bracketed}:{port}{path}"
    argv = ["curl", "--silent", "--show-error", "--fail", "--max-time", str(PATIENCE)]
    if host:
        argv += ["--resolve", f"{host}:{port}:{bracketed}"]
    # Whether a certificate is trusted is not the question, and behind a lab's address none is.
    argv += ["--insecure", "--globoff", url]
    return Question(f"{url} at {bracketed}", tuple(argv), generation)


def _parts(site: Site) -> re.Match[str]:
    match = ADDRESS.fullmatch(site.address)
    assert match is not None  # the schema admits no other
    return match


def ask(provider: Provider, question: Question, generation: int) -> str:
    """What is wrong with the answer, or "". Raises BakehouseError where `curl` is missing."""
    try:
        done = run(provider.outside(question.argv), check=False, timeout=PATIENCE * 2)
    except BakehouseError as error:
        if "not installed" in error.message:
            raise
        return f"{question.shown}: {error.message}"
    if done.code != 0:
        return f"{question.shown}: {done.stderr.strip() or f'curl ended with {done.code}'}"
    if not question.generation:
        return ""
    try:
        answered = json.loads(done.stdout)["generation"]
    except (ValueError, KeyError, TypeError):
        return f"{question.shown}: {done.stdout.strip()[:80]!r} names no generation"
    if answered != generation:
        return f"{question.shown}: generation {answered} answers, not {generation}"
    return ""


def wrong(provider: Provider, asked: list[Question], generation: int) -> list[str]:
    """Everything that is wrong with the answers."""
    return [reason for q in asked if (reason := ask(provider, q, generation))]
