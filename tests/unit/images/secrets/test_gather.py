"""What is delivered, what is missing, and what a person is told about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from images.secrets.deliver import TOTAL, command, deliver
from images.secrets.edit import Entry, editor, entries, hints
from images.secrets.gather import gather
from images.secrets.vault import seal_vault, secrets_path
from images.ssh import Door
from specs.errors import BakehouseError, UsageError
from specs.model import App, Borg, Notify, Secrets, Source, Spec
from specs.plan import ImagePlan, resolve

APP = App("shop", archive="x", secrets=("key",), secret_environment={"MAIL": "mail-password"})
SPEC = Spec("web", apps=(APP,), borg=Borg("/mnt/b"))


@pytest.fixture
def spec_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec with a secrets file beside it."""
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n")
    monkeypatch.setenv("BAKEHOUSE_AGE_IDENTITY", str(tmp_path / "identity"))
    path = tmp_path / "web.yaml"
    text = (
        "key: one\nmail-pasword: two\nborg_passphrase: three\nold: four\nbakehouse.host-ca: five\n"
    )
    seal_vault(secrets_path(path), text, [str(identity.to_public())])
    return path


def test_all_that_is_missing_is_told_at_once(spec_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        gather(SPEC, spec_file)
    assert "1 secret is neither in" in caught.value.message
    assert caught.value.message.endswith("mail-password (for shop)")
    assert caught.value.hint == "in the file there is another: did you mean mail-pasword?"
    with pytest.raises(UsageError) as caught:
        gather(SPEC, tmp_path / "none.yaml")
    assert "3 secrets are neither in" in caught.value.message
    assert "invoke secrets edit" in caught.value.hint


def test_only_what_is_needed_is_delivered(spec_file: Path) -> None:
    plain = Spec("web", apps=(App("shop", archive="x", secrets=("key",)),), borg=Borg("/mnt/b"))
    assert gather(plain, spec_file) == {"key": "one", "borg_passphrase": "three"}
    assert gather(Spec("web"), spec_file) == {}


def planned(*names: str, borg: Borg | None = None) -> ImagePlan:
    """The plan of an image whose only app reads these secrets."""
    apps = (App("shop", archive="x", secrets=names),)
    return resolve(Spec("web", apps=apps, borg=borg), None, ()).image


OPERATORS = Spec("web", apps=SPEC.apps, notify=Notify(urls=("alert-url",)))


@pytest.mark.parametrize("baked", [True, False])
@pytest.mark.parametrize(
    "name", ["bakehouse.host-ca", "hcloud-token", "digitalocean-token", "alert-url"]
)
def test_what_is_the_operators_no_server_gets(spec_file: Path, name: str, baked: bool) -> None:
    with pytest.raises(BakehouseError, match="no server gets it") as caught:
        gather(OPERATORS, spec_file, planned("key", name), named="web-000000000001", baked=baked)
    assert f"the plan of web-000000000001{'' if baked else ', as a server told it,'} asks for" in (
        caught.value.message
    )
    assert ("broke into" in caught.value.hint) is not baked
    with pytest.raises(BakehouseError, match="no server gets it"):
        gather(
            replace(OPERATORS, apps=(App("shop", archive="x", secrets=(name,)),)),
            spec_file,
        )


def test_a_plan_that_a_server_told_gets_what_the_spec_names_too(spec_file: Path) -> None:
    given = gather(SPEC, spec_file, planned("key"), named="web-000000000001")
    assert given == {"key": "one"}
    with pytest.raises(BakehouseError, match=r"web-000000000001, as a server told it.* old, which"):
        gather(SPEC, spec_file, planned("key", "old"), named="web-000000000001")
    plain = Spec("web", apps=SPEC.apps)
    with pytest.raises(BakehouseError, match="asks for borg_passphrase, borg_ssh_key, which") as no:
        gather(plain, spec_file, planned("key", borg=Borg("/mnt/b")), named="web-000000000001")
    assert "with the spec as it was then" in no.value.hint


def test_an_older_generation_that_was_baked_here_gets_what_it_needs(spec_file: Path) -> None:
    """The newest spec dropped it: a roll-back must work all the same."""
    given = gather(SPEC, spec_file, planned("key", "old"), named="web-000000000001", baked=True)
    assert given == {"key": "one", "old": "four"}


def test_the_list_has_names_sources_and_readers(spec_file: Path) -> None:
    spec = Spec("web", apps=(APP,), secrets=Secrets(sources={"key": Source(("pass", "key"))}))
    found = entries(spec, spec_file)
    assert found == [
        Entry("bakehouse.host-ca", "file", ("host keys",)),
        Entry("borg_passphrase", "file", ()),
        Entry("key", "command", ("shop",)),
        Entry("mail-password", "", ("shop",)),
        Entry("mail-pasword", "file", ()),
        Entry("old", "file", ()),
    ]
    assert hints(found) == ["mail-password is missing: did you mean mail-pasword?"]
    shown = "\n".join(entry.line() for entry in found)
    assert "MISSING" in shown
    assert not any(value in shown for value in ("one", "two", "three", "four", "five"))


def test_words_of_the_delivery_hold_no_secret() -> None:
    assert command() == ["/usr/bin/python3", "-IB", "-m", "bakehouse.credentials", "deliver"]


def test_too_much_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BakehouseError, match="512 KiB"):
        deliver(Door(Path("nowhere")), {"big": "x" * TOTAL})


def test_the_persons_editor_may_have_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "code --wait")
    assert editor() == ["code", "--wait"]
    monkeypatch.setenv("EDITOR", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="no editor"):
        editor()
