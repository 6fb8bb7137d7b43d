"""What is asked from outside, and what counts as a good answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from images.promote.outside import by_http, lacks_certificate, questions
from images.providers.base import FloatingIp
from specs.model import Caddy, Site
from specs.plan import ImagePlan, resolve
from specs.read import read

PLAN = resolve(read(Path(__file__).parents[4] / "specs/hobby.yaml"), None, ()).image
IP = FloatingIp("hobby", "203.0.113.10", "2001:db8:f::10", "")


def plan(address: str) -> ImagePlan:
    site = Site(address=address, app="guestbook")
    return replace(PLAN, caddy=Caddy(sites=(site,)))


def test_both_families_are_asked_which_generation_answers() -> None:
    found = questions(PLAN, IP)
    assert [question.argv[-1] for question in found] == [
        "http://203.0.113.10:80/.well-known/bakehouse",
        "http://[2001:db8:f::10]:80/.well-known/bakehouse",
    ]
    assert all(question.generation for question in found)


def test_health_asks_the_apps_own_check_too() -> None:
    found = questions(PLAN, IP, health=True)
    assert [question.argv[-1] for question in found if not question.generation] == [
        "http://203.0.113.10:80/healthz",
        "http://[2001:db8:f::10]:80/healthz",
    ]


@pytest.mark.parametrize(
    ("address", "url", "resolve_"),
    [
        ("example.org", "https://example.org:443", "example.org:443:203.0.113.10"),
        ("http://example.org", "http://example.org:80", "example.org:80:203.0.113.10"),
        ("example.org:8443", "https://example.org:8443", "example.org:8443:203.0.113.10"),
        (":8080", "http://203.0.113.10:8080", ""),
    ],
)
def test_a_name_is_asked_at_the_address(address: str, url: str, resolve_: str) -> None:
    argv = questions(plan(address), replace(IP, v6=""))[0].argv
    assert argv[-1] == f"{url}/.well-known/bakehouse"
    assert (argv[argv.index("--resolve") + 1] if resolve_ else "") == resolve_


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("example.org", "http://example.org:80/"),
        ("https://example.org:8443", "http://example.org:80/"),
        (":8080", ""),
    ],
)
def test_without_a_certificate_a_name_answers_by_http(address: str, url: str) -> None:
    found = by_http(plan(address), replace(IP, v6=""))
    assert [question.argv[-1] for question in found] == ([url] if url else [])


def test_what_lacks_a_certificate_alone() -> None:
    alert = "curl: (35) OpenSSL/3.0.17: error:0A000438:SSL routines::tlsv1 alert internal error"
    assert lacks_certificate(alert)
    assert not lacks_certificate("curl: (22) The requested URL returned error: 502")


def test_a_server_without_sites_is_asked_nothing() -> None:
    assert questions(replace(PLAN, caddy=None), IP, health=True) == []
