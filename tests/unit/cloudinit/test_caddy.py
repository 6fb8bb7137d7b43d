"""The Caddyfile."""

from __future__ import annotations

from typing import Any

import pytest

from cloudinit import caddy
from cloudinit.part import Part
from specs.model import App, Build, Caddy, Docker, Site, Spec
from specs.plan import Payload, resolve

SHOP = App("shop", build=Build((), "shop"), port=8000, replicas=2, health="/healthz")


def rendered(*sites: Site, **settings: Any) -> str:
    spec = Spec(
        name="x", docker=Docker(), apps=(SHOP,), caddy=Caddy(sites=tuple(sites), **settings)
    )
    payloads = (
        Payload("app/shop", "c" * 64, "/usr/lib/bakehouse/images"),
        Payload("files/acme-root", "d" * 64, "/usr/lib/bakehouse/acme"),
        *(Payload(f"static/{s.address}", "e" * 64, "/srv/sites/site") for s in sites if s.static),
    )
    return caddy.caddyfile(resolve(spec, None, payloads).image)


def block(text: str, head: str) -> str:
    """The block that starts with the line `head {`."""
    start = text.index(f"\n{head} {{\n")
    return text[start : text.index("\n}\n", start)]


def test_nothing_without_caddy() -> None:
    assert caddy.part(resolve(Spec(name="bare"), None, ()).image) == Part()


def test_an_app_is_served_by_all_its_replicas() -> None:
    site = block(rendered(Site("example.org", app="shop")), "example.org")
    assert site.count("127.0.0.1:20000 127.0.0.1:20001") == 2
    assert 'import health "/healthz"' in site
    assert "Strict-Transport-Security" in site
    assert "encode zstd gzip" in site


def test_only_harmless_methods_count_failures() -> None:
    text = rendered(Site("example.org", app="shop"))
    safe, other = text.split("reverse_proxy @safe ")[1].split("\treverse_proxy ")
    assert "fail_duration" in safe
    assert "fail_duration" not in other
    assert "max_fails" in other


def test_a_site_without_https_promises_none() -> None:
    site = block(rendered(Site("http://plain.example", app="shop")), "http://plain.example")
    assert "Strict-Transport-Security" not in site


def test_aliases_share_the_scheme_of_their_site() -> None:
    text = rendered(
        Site("example.org", aliases=("www.example.org",), app="shop"),
        Site("http://a.example", aliases=("b.example", "https://c.example"), app="shop"),
    )
    assert "\nexample.org, www.example.org {\n" in text
    assert "\nhttp://a.example, http://b.example, https://c.example {\n" in text


@pytest.mark.parametrize(
    ("target", "token"),
    [
        ("https://example.org", '"https://example.org{uri}"'),
        ("https://example.org/", '"https://example.org{uri}"'),
        ("https://example.org/new", '"https://example.org/new"'),
        ("https://example.org/?a={b}", '"https://example.org/?a=\\{b}"'),
    ],
)
def test_redirects_keep_the_path_unless_they_name_one(target: str, token: str) -> None:
    site = block(rendered(Site("old.example", redirect=target)), "old.example")
    assert f"redir @elsewhere {token} permanent" in site
    assert "encode" not in site


def test_a_static_site() -> None:
    site = block(rendered(Site(":80", static="site", compress=False)), ":80")
    assert 'root * "/srv/sites/site"' in site
    assert "file_server" in site
    assert "encode" not in site


def test_header_values_mean_what_they_say() -> None:
    headers = {"X-B": "b", "X-A": 'say "hi" to {http.request.host}'}
    site = block(rendered(Site("example.org", app="shop", headers=headers)), "example.org")
    assert 'header X-A "say \\"hi\\" to \\{http.request.host}"\n\theader X-B "b"' in site


def test_another_certificate_authority() -> None:
    text = rendered(
        email="a@example.org",
        acme_directory="https://ca.example/acme",
        acme_root="certs/ca.pem",
    )
    assert 'email "a@example.org"' in text
    assert 'acme_ca "https://ca.example/acme"' in text
    assert 'acme_ca_root "/usr/lib/bakehouse/acme/ca.pem"' in text


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "*_*"])
def test_no_client_tells_an_app_who_it_is(name: str) -> None:
    text = rendered(Site("example.org", app="shop"))
    assert f"\trequest_header -{name}\n" in block(text, "(site)")
    assert "import site" in block(text, "example.org")


def test_neither_http3_nor_an_open_admin_door() -> None:
    text = rendered()
    assert "protocols h1 h2\n" in text
    assert "admin unix//run/caddy/admin.sock" in text


@pytest.mark.parametrize(("address", "ours"), [("example.org", 1), (":80", 0), ("http://", 0)])
def test_every_server_answers_for_its_generation(address: str, ours: int) -> None:
    text = rendered(Site(address, app="shop"))
    assert text.count("\nhttp:// {\n\timport site\n\trespond 404\n}") == ours
    assert "/.well-known/bakehouse" in block(text, "(site)")
