"""Packer's own words: lines for a person, and failures with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images.packer.cloud import SIDES, made, places
from images.packer.process import NoCapacityError, failure, told
from specs.errors import BakehouseError, UsageError
from specs.model import Deploy

UI = "1700000000,,ui,"


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        (f"{UI}say,==> hcloud.image: Creating server...", ["==> hcloud.image: Creating server..."]),
        (f"{UI}message,    one%!(PACKER_COMMA) two\\nthree\\r", ["one, two", "three"]),
        (f"{UI}error,Build 'x' errored: no", ["error: Build 'x' errored: no"]),
        ("1700000000,hcloud.image,artifact,0,id,123", []),
        ("1700000000,,error-count,1", []),
        ("panic: no machine-readable line", ["panic: no machine-readable line"]),
        ("", []),
    ],
)
def test_lines(line: str, lines: list[str]) -> None:
    assert list(told(line)) == lines


@pytest.mark.parametrize(
    ("said", "why", "elsewhere"),
    [
        ("unable to authenticate (unauthorized)", "refuses the token", False),
        ("GET https://x/v2/account: 401 Unable to authenticate you", "refuses the token", False),
        ("you do not have permission (forbidden)", "may not do that", False),
        ("server limit reached (resource_limit_exceeded)", "limit of servers", False),
        ("422 creating this will exceed your droplet limit", "limit of servers", False),
        ("error during placement (resource_unavailable)", "no such server there", True),
        ("422 Size is not available in this region.", "no such server there", True),
        ("unsupported location for server type (invalid_input)", "no such server there", True),
        ("server type 104 is deprecated (invalid_input)", "no such server there", True),
        ("Could not find server type 'cx22'", "no such server there", True),
        ("name is already used (uniqueness_error)", "name is taken", False),
        ("429 API Rate limit exceeded.", "no more requests", False),
        ("dial tcp: connect: connection refused", "cannot be reached", False),
        ("Script exited with non-zero exit status: 1", "exit code 1", False),
    ],
)
def test_failures_say_what_to_do(said: str, why: str, elsewhere: bool) -> None:
    error = failure("hcloud.image", 1, ["==> a line", f"error: {said}"])
    assert why in error.message
    assert said in error.message
    assert error.hint
    assert isinstance(error, NoCapacityError) == elsewhere


def test_only_errors_tell_the_cause() -> None:
    """What a script prints is no answer of the vendor's."""
    lines = ["curl: (22) 401 for a test", "error: Script exited with non-zero exit status: 7"]
    assert "exit code 1" in failure("qemu.image", 1, lines).message


def test_places_are_tried_in_the_specs_order() -> None:
    deploy = Deploy("hetzner", ("hel1", "fsn1"), ("cx23", "cpx11"))
    tried = [tuple(place.values()) for place in places(SIDES["hetzner"], deploy)]
    assert tried == [("hel1", "cx23"), ("fsn1", "cx23"), ("hel1", "cpx11"), ("fsn1", "cpx11")]


def test_nobody_else_decides_what_to_rent() -> None:
    """The proof orders by the spec alone, so a bake elsewhere would be for nothing."""
    with pytest.raises(UsageError, match=r"deploy.server_types is empty"):
        list(places(SIDES["digitalocean"], Deploy("digitalocean", ("fra1",))))


def test_the_manifests_last_run_counts(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    builds = [
        {"packer_run_uuid": "a", "artifact_id": "1"},
        {"packer_run_uuid": "b", "artifact_id": "fra1:2"},
    ]
    file.write_text(json.dumps({"builds": builds, "last_run_uuid": "b"}), encoding="utf-8")
    assert made(file) == "2"
    file.write_text(json.dumps({"builds": [], "last_run_uuid": "b"}), encoding="utf-8")
    with pytest.raises(BakehouseError, match="no snapshot"):
        made(file)
