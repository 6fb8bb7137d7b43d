"""The secrets file: what it keeps, who can open it, and what its errors do not tell."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest

from images.secrets.keys import recipients
from images.secrets.vault import open_vault, read_text, seal_vault, secrets_path
from specs.errors import SpecError, UsageError
from specs.model import Secrets, Spec, User

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhU7KAhV9ZcTDrIlqxHzRGDnHKdFPWBHPq3WK2tVn8x jane"
TEXT = """\
# kept
stripe-key: "sk_live"
number: 0077
no: no
borg_ssh_key: |
  -----BEGIN
  $HOME: 'x'
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The public key of an identity that is set up for this test alone."""
    identity = pyrage.x25519.Identity.generate()
    file = tmp_path / "identity"
    file.write_text(f"# created: today\n{identity}\n")
    monkeypatch.setenv("BAKEHOUSE_AGE_IDENTITY", str(file))
    return str(identity.to_public())


def test_it_lies_beside_the_spec() -> None:
    assert secrets_path(Path("specs/hobby.yaml")) == Path("specs/hobby.secrets.age")


def test_what_was_written_is_read(tmp_path: Path, mine: str) -> None:
    path = tmp_path / "web.secrets.age"
    seal_vault(path, TEXT, [mine, ED25519])
    assert path.read_text().startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    vault = open_vault(path)
    assert vault.text == TEXT
    assert vault.values == {
        "stripe-key": "sk_live",
        "number": "0077",
        "no": "no",
        "borg_ssh_key": "-----BEGIN\n$HOME: 'x'\n",
    }


def test_another_key_does_not_open_it(tmp_path: Path, mine: str) -> None:
    path = tmp_path / "web.secrets.age"
    seal_vault(path, TEXT, [ED25519])
    with pytest.raises(UsageError, match="not encrypted to a key of yours") as caught:
        open_vault(path)
    assert "invoke secrets rekey" in caught.value.hint
    assert mine not in str(caught.value)


def test_a_damaged_file_is_told(tmp_path: Path, mine: str) -> None:
    path = tmp_path / "web.secrets.age"
    seal_vault(path, TEXT, [mine])
    text = path.read_text()
    path.write_text(text[:100] + "AAAA" + text[104:])
    with pytest.raises(UsageError):
        open_vault(path)


def test_an_identity_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "web.secrets.age"
    seal_vault(path, TEXT, [ED25519])
    monkeypatch.setenv("BAKEHOUSE_AGE_IDENTITY", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="there is no file"):
        open_vault(path)


def test_a_file_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "web.secrets.age"
    seal_vault(path, TEXT, [ED25519])
    monkeypatch.setenv("BAKEHOUSE_AGE_IDENTITY", str(path))
    with pytest.raises(UsageError, match="holds no private key"):
        open_vault(path)


def test_nothing_but_comments_is_no_secret() -> None:
    assert read_text("# later\n\n  # more\n", "x") == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("key: hidden\n  other: *hidden\n", "x:2:"),
        ("key: 'hidden\n", "x:"),
        ("[hidden]\n", "x:1:1"),
        ("hidden\n", "x:1:1"),
        ("key: {hidden: hidden}\n", "x:1:1"),
        ("key: ''\n", "x:1:1"),
        ("key:\n", "x:1:1"),
        ("'hidden/value': a\n", "x:1:1"),
        ("bakehouse.other: hidden\n", "x:1:1"),
        ('key: "hidden\\0"\n', "x:1:1"),
        ("key: hidden\nkey: hidden\n", "x:2:1"),
    ],
)
def test_errors_name_the_place_and_no_value(text: str, place: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_text(text, "x")
    assert str(caught.value).startswith(place)
    assert "hidden" not in str(caught.value)


def test_recipients_of_the_spec_come_before_its_admins() -> None:
    admins = (User("ann", (ED25519, "ecdsa-sha2-nistp256 AAAA"), sudo=True), User("bob", ("x",)))
    assert recipients(Spec("web", users=admins)) == (ED25519,)
    named = Spec("web", users=admins, secrets=Secrets(("age1named",)))
    assert recipients(named) == ("age1named",)
    with pytest.raises(UsageError, match="nobody to encrypt"):
        recipients(Spec("web", users=(User("ann", sudo=True),)))
