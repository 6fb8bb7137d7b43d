"""Notices arrive, by HTTP and by mail; one that cannot is told, and gives nothing away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from images.scheduled.notices import Notice, deliver, tell
from images.secrets.vault import seal_vault, secrets_path
from specs.model import Event, Notify, Secrets, Source, Spec
from tests.integration.receivers import Inbox, http_receiver, smtp_server, subject, text

MESSAGE = "web: generation 8 waits for you: invoke promote\nbash 5.1 → 5.2\nfixes CVE-2026-1111"


@pytest.fixture
def hook() -> Iterator[Inbox]:
    with http_receiver() as inbox:
        yield inbox


@pytest.fixture
def post() -> Iterator[Inbox]:
    with smtp_server() as inbox:
        yield inbox


def mail(inbox: Inbox) -> str:
    return f"mailto://127.0.0.1:{inbox.port}?mode=insecure&from=us@example.org&to=you@example.org"


def sealed(folder: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> Path:
    """A spec file with these secrets beside it."""
    identity = pyrage.x25519.Identity.generate()
    (folder / "identity").write_text(f"{identity}\n")
    monkeypatch.setenv("BAKEHOUSE_AGE_IDENTITY", str(folder / "identity"))
    lines = "".join(f'{name}: "{value}"\n' for name, value in values.items())
    seal_vault(secrets_path(folder / "web.yaml"), lines, [str(identity.to_public())])
    return folder / "web.yaml"


def test_a_message_arrives_with_its_first_line_as_title(hook: Inbox) -> None:
    assert deliver(f"json://127.0.0.1:{hook.port}/token", "staged", MESSAGE) == ""
    (got,) = hook.got
    assert got["title"] == "web: generation 8 waits for you: invoke promote"
    assert got["message"].splitlines() == ["bash 5.1 → 5.2", "fixes CVE-2026-1111"]
    assert got["type"] == "info"


def test_a_mail_arrives_with_its_first_line_as_subject(post: Inbox) -> None:
    assert deliver(mail(post), "failed", MESSAGE) == ""
    (got,) = post.mails
    assert subject(got) == "web: generation 8 waits for you: invoke promote"
    assert "fixes CVE-2026-1111" in text(got)
    assert got["To"] == "you@example.org"


def test_every_url_of_the_spec_is_told_of_the_events_it_names(
    hook: Inbox, post: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sealed(tmp_path, monkeypatch, hook=f"json://127.0.0.1:{hook.port}/")
    sources = {"mail": Source(("printf", "%s", mail(post)))}
    events: tuple[Event, ...] = ("failed", "alarm")
    spec = Spec("web", secrets=Secrets(sources=sources), notify=Notify(("hook", "mail"), events))
    assert tell(spec, file, "staged", MESSAGE) == ()
    assert tell(spec, file, "failed", MESSAGE) == (Notice("hook", True), Notice("mail", True))
    assert (len(hook.got), len(post.mails)) == (1, 1)


def test_what_cannot_be_delivered_is_told_and_the_others_are(
    hook: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"json://127.0.0.1:{hook.port}/"
    file = sealed(tmp_path, monkeypatch, hook=url, odd="nonsense", gone="json://127.0.0.1:1/")
    spec = Spec("web", notify=Notify(("nowhere", "odd", "gone", "hook")))
    nowhere, odd, gone, arrived = tell(spec, file, "failed", MESSAGE)
    assert "neither in" in nowhere.why
    assert "no URL that Apprise knows" in odd.why
    assert "onnection" in gone.why
    assert arrived == Notice("hook", True)


def test_a_service_that_refuses_is_no_delivery(hook: Inbox) -> None:
    hook.answer = 403
    assert "403" in deliver(f"json://127.0.0.1:{hook.port}/", "failed", MESSAGE)


@pytest.mark.parametrize(
    "url",
    [
        "json://someone:pass%20phrase@127.0.0.1:1/token-of-mine",
        "slack://token-of-mine/pass/phrase",
        "tgram://token-of-mine:phrase/1",
        "discord://token-of-mine",
    ],
)
def test_no_part_of_a_url_is_repeated(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    why = deliver(url, "failed", MESSAGE)
    told = why + "".join(capfd.readouterr())
    assert why
    assert not [part for part in ("token-of-mine", "phrase", "someone") if part in told]
