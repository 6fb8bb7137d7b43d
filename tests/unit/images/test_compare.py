"""Differences between two sides, what an update fixes, and what a build makes anew."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.bake import bake
from images.compare import Change, Comparison, Side, changes, compare, of_recipe, side
from images.fixes import Source, fixed, source_of
from images.home import Home
from images.paint import painted
from images.rebuild import FIRST, OURS, of_layers
from images.recipe import Recipe
from specs.lock import Lock, LockedPackage, dump
from specs.model import Caddy, Firewall, Rule, Site, Spec, User
from specs.plan import resolve

CHANGELOG = """\
openssl (3.5.4-1~deb13u2) trixie-security; urgency=high

  * CVE-2026-1111 and CVE-2025-22222; see also CVE-2026-1111.

 -- A <a@example.org>  Mon, 09 Nov 2026 22:44:33 +0100

openssl (3.5.4-1~deb13u1) trixie; urgency=medium

  * Fixes (CVE-2025-9230).

 -- A <a@example.org>  Mon, 02 Nov 2026 22:44:33 +0100

openssl (3.5.1-1) unstable; urgency=medium, binary-only=yes

  * CVE-2024-0001

 -- A <a@example.org>  Sun, 02 Nov 2025 22:44:33 +0100
"""


def package(name: str, version: str = "1.0-1") -> LockedPackage:
    sha256 = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    return LockedPackage(name, version, "amd64", "debian", f"pool/{name}.deb", sha256, 1)


@pytest.mark.parametrize(
    ("older", "newer", "expected"),
    [
        ("3.5.4-1~deb13u1", "3.5.4-1~deb13u2", ("CVE-2025-22222", "CVE-2026-1111")),
        (
            "3.5.1-1",
            "3.5.4-1~deb13u2",
            ("CVE-2025-9230", "CVE-2025-22222", "CVE-2026-1111"),
        ),
        ("3.5.1-1", "3.5.4-1~deb13u1", ("CVE-2025-9230",)),
        ("3.5.4-1~deb13u2", "3.5.4-1~deb13u2", ()),
    ],
    ids=["one entry", "two entries", "not what is newer still", "nothing new"],
)
def test_fixes_are_those_of_the_entries_in_between(
    older: str, newer: str, expected: tuple[str, ...]
) -> None:
    assert fixed(CHANGELOG, older, newer) == expected


def test_a_changelog_of_another_form_names_nothing() -> None:
    assert fixed("Changes in 3.5\n * CVE-2026-1111 (low): x\n", "1", "9") == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("Package: a\nVersion: 1.0-1\n", Source("a", "1.0-1")),
        ("Package: a\nSource: b\nVersion: 1.0-1\n", Source("b", "1.0-1")),
        ("Package: a\nSource: b (1.0+1)\nVersion: 1.0-1\n", Source("b", "1.0+1")),
    ],
)
def test_the_source_of_a_package(fields: str, expected: Source) -> None:
    assert source_of(fields, package("a")) == expected


EMPTY = Side("x", None, {})
LOCK = Lock(0, "trixie", "amd64", {}, {}, {})


def locked(**sets: tuple[LockedPackage, ...]) -> Lock:
    return replace(LOCK, sets=sets)


def test_users_services_ports_and_files_follow_from_the_spec(tmp_path: Path) -> None:
    def of(spec: Spec) -> Side:
        plan = resolve(spec, None, ())
        return of_recipe(Home(tmp_path), Recipe(spec, plan, bake(plan.image), "", {}), "x")

    old = Spec("web", firewall=Firewall((Rule(9100, "tcp", ("10.0.0.0/8",)),)))
    site = Site("http://example.org", redirect="https://example.net")
    new = replace(
        old, users=(User("ada"),), caddy=Caddy(sites=(site,)), firewall=Firewall((Rule(9100),))
    )
    found = {(c.kind, c.name): (c.old, c.new) for c in changes(of(old), of(new))}
    assert found["port", "tcp/9100"] == ("10.0.0.0/8", "everyone")
    assert found["port", "tcp/443"] == ("", "everyone")
    assert found["user", "ada"] == ("", "number 1000, /bin/bash")
    assert found["service", "caddy.service"] == ("", "enabled")
    assert found["file", "/etc/caddy/Caddyfile"][0] == ""
    assert ("port", "tcp/22") not in found


def test_packages_content_and_size() -> None:
    old = Side(
        "a", None, {"package": {"a": "1", "b": "1"}, "content": {"app/shop": "1"}}, 2 * 10**9
    )
    new = Side(
        "b", None, {"package": {"a": "2", "c": "1"}, "content": {"app/shop": "2"}}, 3 * 10**9
    )
    assert changes(old, new) == (
        Change("content", "app/shop", "1", "2"),
        Change("package", "a", "1", "2"),
        Change("package", "b", "1", ""),
        Change("package", "c", "", "1"),
        Change("size", "disk", "2000 MB", "3000 MB"),
    )


def test_a_lock_has_packages_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one.lock", tmp_path / "two.lock"
    one.write_text(dump(locked(base=(package("acl"),))))
    two.write_text(dump(locked(base=(package("acl", "1.0-2"),))))
    home = Home(tmp_path)
    found = compare(home, *(side(home, str(file), nobody) for file in (one, two)))
    assert found.lines() == [
        "~ package acl 1.0-1 → 1.0-2",
        "note: no changelog at hand, fixes unknown: acl",
    ]


def nobody(word: str) -> Recipe:
    raise AssertionError(f"{word} is no spec")


def test_without_a_lock_no_package_seems_gone(tmp_path: Path) -> None:
    locked_side = replace(EMPTY, facts={"package": {"a": "1"}})
    assert changes(EMPTY, locked_side) == changes(locked_side, EMPTY) == ()
    assert compare(Home(tmp_path), EMPTY, locked_side).notes == (
        "x does not tell, so not compared: package",
    )


def test_lines_for_a_person() -> None:
    many = tuple(f"CVE-2026-{number}" for number in range(1000, 1008))
    found = Comparison(
        (
            Change("file", "/etc/motd", "one\ntwo\n", "one\n2\n"),
            Change("package", "openssl", "1", "2", many),
            Change("service", "caddy.service", "enabled", ""),
        ),
        ("a note",),
    )
    assert found.lines() == [
        "~ file /etc/motd",
        "    @@ -1,2 +1,2 @@",
        "     one",
        "    -two",
        "    +2",
        f"~ package openssl 1 → 2  fixes {', '.join(many[:6])} and 2 more",
        "- service caddy.service enabled",
        "note: a note",
    ]
    assert Comparison(()).lines() == ["no difference"]


def test_colours_only_on_a_terminal() -> None:
    lines = ["+ package a 1", "~ package b 1 → 2  fixes CVE-2026-1000", "[bold] is no markup"]
    assert painted(lines, terminal=False) == "\n".join(lines)
    colourful = painted(lines, terminal=True)
    assert "\x1b[" in colourful and "[bold] is no markup" in colourful


def whys(before: Lock | None, lock: Lock, *there: str) -> dict[str, str]:
    ids = {name: name for name in ("core", "base", "services", "tools")}
    return {
        step.name: "kept" if step.kept else step.why for step in of_layers(ids, there, lock, before)
    }


def test_a_layer_is_made_anew_for_the_nearest_reason() -> None:
    before = locked(core=(package("dpkg"),), base=(package("a"),), services=(package("c"),))
    after = locked(core=(package("dpkg"),), base=(package("a", "2"),), services=(package("c"),))
    assert whys(before, after, "core", "tools") == {
        "core": "kept",
        "base": "a changed",
        "services": "it stands on base, which changed",
        "tools": "kept",
    }


def test_tools_stand_on_core_alone() -> None:
    before = locked(core=(package("dpkg"),), base=(package("a"),))
    found = whys(before, locked(core=(package("dpkg", "2"),), base=(package("a"),)))
    assert found["tools"] == "it stands on core, which changed"
    assert whys(before, locked(core=(package("dpkg"),), base=()))["tools"].endswith(OURS)


def test_reasons_name_a_few_packages_and_a_first_build_needs_none() -> None:
    many = tuple(package(name) for name in "abcdef")
    assert whys(locked(base=()), locked(base=many))["base"] == "a, b, c, d and 2 more changed"
    assert set(whys(None, locked(base=many)).values()) == {FIRST}
