"""What is pure in the provider for DigitalOcean: labels as tags, and keys that stand for names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st

from images.home import Home
from images.providers import digitalocean_tags as tags
from images.providers.digitalocean import DigitalOcean
from images.providers.digitalocean_api import Api
from images.providers.digitalocean_notes import NOTE, fingerprint, public_key
from images.providers.waiting import Waiting
from specs.errors import BakehouseError, UsageError
from tests.unit.images.wire import wired

TAG = re.compile(r"[a-zA-Z0-9_\-:]{1,255}")
"""What the API takes (its OpenAPI document, "tags")."""

WORDS = st.from_regex(re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?"), fullmatch=True)


@given(st.dictionaries(WORDS, WORDS | st.just(""), max_size=4))
def test_labels_are_read_as_they_were_written(labels: dict[str, str]) -> None:
    written = tags.labels_tag(labels, 1)
    assert TAG.fullmatch(written)
    assert written == written.lower()
    assert tags.labels([written]) == labels


@given(WORDS)
def test_words_keep_apart_though_tags_know_no_case(word: str) -> None:
    assert tags.decoded(tags.encoded(word)) == word
    assert tags.encoded(word) == tags.encoded(word).lower()


def test_a_reader_sees_all_old_labels_or_all_new_ones() -> None:
    old = tags.tags({"spec": "shop", "role": "active", "epoch": "9"})
    new = tags.labels_tag({"spec": "shop", "role": "standby", "epoch": "10"}, tags.number(old) + 1)
    assert tags.labels(old) == {"spec": "shop", "role": "active", "epoch": "9"}
    changed = {"spec": "shop", "role": "standby", "epoch": "10"}
    assert tags.labels([*old, new]) == tags.labels([new, *old]) == changed
    assert tags.own([*old, new]) == [old[1], new]
    assert old[0] == tags.spec_tag("shop") == "bakehouse:spec:shop"


def test_the_tenth_change_is_newer_than_the_ninth() -> None:
    ninth, tenth = (tags.labels_tag({"n": str(n)}, n) for n in (9, 10))
    assert tags.labels([ninth, tenth]) == {"n": "10"}


def test_somebody_elses_tags_are_no_labels() -> None:
    assert tags.labels(["web", "bakehouse:spec:shop", "bakehouse:v1:xyz", "env:prod"]) == {}
    assert tags.number(["web"]) == 0


def test_labels_that_no_tag_can_hold_are_refused() -> None:
    with pytest.raises(UsageError, match="255"):
        tags.labels_tag({f"key{n}": "x" * 60 for n in range(4)}, 1)


def test_a_name_has_one_key_which_others_take_for_one() -> None:
    """What a server may check when it is given a key."""
    seen = set()
    for number in range(40):
        line = public_key(NOTE, f"shop-lease-{number}")
        assert line == public_key(NOTE, f"shop-lease-{number}")
        assert isinstance(load_ssh_public_key(line.encode()), Ed25519PublicKey)
        assert re.fullmatch(r"([0-9a-f]{2}:){15}[0-9a-f]{2}", fingerprint(line))
        seen.add(line)
    assert len(seen) == 40


def test_a_fingerprint_is_openssh_s() -> None:
    """`ssh-keygen -l -E md5` of the key of RFC 8032's first test vector."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
    assert fingerprint(key) == "cf:07:be:9d:68:ae:65:54:6d:a0:93:c3:6f:bd:0d:82"


def test_an_image_that_stays_in_the_list_is_not_deleted_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = [0.0]
    waiting = Waiting(lambda s: time.append(time[-1] + s), lambda: time[-1], lambda: 0.0, 60)
    listed = {"id": 7, "name": "shop-1", "status": "available", "tags": []}
    wire = wired(monkeypatch)
    wire.answers = {
        "GET /v2/images": [(200, {"images": [listed]})],
        "GET /v2/images/7": [(404, {"message": "gone"})],
    }
    cloud = DigitalOcean(Home(tmp_path), Api("token", waiting=waiting))
    with pytest.raises(BakehouseError, match="shop-1 is listed still, 60 s after"):
        cloud.delete_image("shop-1")
    assert len(wire.sent) < 40


def test_images_that_are_gone_are_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_shop = tags.tags({"spec": "shop", "image": "shop-1"})
    gone = [
        {"id": n, "name": "shop-1", "status": status, "tags": of_shop, "size_gigabytes": 1}
        for n, status in enumerate(("deleted", "available", "retired"))
    ]
    wired(monkeypatch).answers = {"GET /v2/images": [(200, {"images": gone})]}
    cloud = DigitalOcean(Home(tmp_path), Api("token"))
    assert [one.handle for one in cloud.images("shop")] == ["1"]
