"""Secrets on the operator's machine: the editor, its kill, other tools' commands, the CA's key."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from images.home import Home
from images.hosts.ca import find_ca, open_ca, public_half, sign_host_key
from images.hosts.certificates import parsed
from images.hosts.keys import FirstKey, make_first_key
from images.run import run
from images.secrets import edit as work
from images.secrets.gather import gather
from images.secrets.memory import MEMORY, memory_folder
from images.secrets.vault import CA_KEY, open_vault, secrets_path
from images.server import host_keys, state
from images.server.state import ProgramError
from specs.errors import BakehouseError, SpecError, UsageError
from specs.model import App, Borg, Secrets, Source, Spec

HOLD = """
import signal, time
from pathlib import Path
from images.secrets.memory import memory_folder
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run below nohup
with memory_folder() as folder:
    (folder / "text").write_text("planted")
    print(folder, flush=True)
    time.sleep(600)
"""


def spec_with(key: Path, **more: object) -> Spec:
    public = key.with_suffix(".pub").read_text().strip()
    sources = more.pop("sources", {})
    assert isinstance(sources, dict)
    return Spec("web", secrets=Secrets((public,), sources), **more)  # type: ignore[arg-type]


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An SSH key pair that is the only identity of this test."""
    private = tmp_path / "id"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", str(private)])
    monkeypatch.setenv("BAKEHOUSE_AGE_IDENTITY", str(private))
    monkeypatch.delenv("VISUAL", raising=False)
    return private


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return tmp_path / "web.yaml"


def editing(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Make a shell script the person's editor; `$1` is the text."""
    program = folder / "editor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(program))


def left() -> set[str]:
    return {path.name for path in MEMORY.glob("bakehouse-*")}


def quiet(_: str) -> None:
    """Nobody listens."""


def test_an_edit_is_encrypted_and_leaves_nothing(
    tmp_path: Path, key: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = left()
    spec = spec_with(key, borg=Borg("/mnt/b"))
    editing(monkeypatch, tmp_path, 'stat -fc %T "$1" >kind; stat -c %a "$1" "${1%/*}" >>kind\n')
    monkeypatch.chdir(tmp_path)
    assert work.edit(spec, spec_file, quiet)
    assert (tmp_path / "kind").read_text().split() == ["tmpfs", "600", "700"]
    assert "# borg_passphrase:    for borg" in open_vault(secrets_path(spec_file)).text
    assert not work.edit(spec, spec_file, quiet)
    editing(monkeypatch, tmp_path, 'echo \'borg_passphrase: "a b"\' >>"$1"')
    assert work.edit(spec, spec_file, quiet)
    assert gather(spec, spec_file) == {"borg_passphrase": "a b"}
    assert b"a b" not in secrets_path(spec_file).read_bytes()
    assert left() == before


def test_a_wrong_edit_changes_nothing(
    tmp_path: Path, key: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_with(key)
    editing(monkeypatch, tmp_path, "echo 'key: one' >\"$1\"")
    work.edit(spec, spec_file, quiet)
    before = secrets_path(spec_file).read_bytes()
    editing(monkeypatch, tmp_path, "echo 'key: [hidden' >\"$1\"")
    with pytest.raises(SpecError) as caught:
        work.edit(spec, spec_file, quiet)
    assert "hidden" not in str(caught.value)
    editing(monkeypatch, tmp_path, "exit 3")
    with pytest.raises(BakehouseError, match="ended with 3; nothing was changed"):
        work.edit(spec, spec_file, quiet)
    assert secrets_path(spec_file).read_bytes() == before


def test_two_cannot_edit_at_once(
    tmp_path: Path, key: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editing(monkeypatch, tmp_path, "true")
    with (
        work._held(secrets_path(spec_file)),
        pytest.raises(BakehouseError, match="changed by somebody else"),
    ):
        work.edit(spec_with(key), spec_file, quiet)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_kill_takes_the_text_with_it(how: signal.Signals) -> None:
    project = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, cwd=project
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert (folder / "text").read_text() == "planted"
        process.send_signal(how)
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not folder.exists()


def test_the_folder_is_ours_alone() -> None:
    with memory_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_key_that_was_taken_away_opens_nothing_any_more(
    tmp_path: Path, key: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editing(monkeypatch, tmp_path, "echo 'key: one' >\"$1\"")
    work.edit(spec_with(key), spec_file, quiet)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other/id"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(other)])
    assert work.rekey(spec_with(other), spec_file) == spec_with(other).secrets.recipients
    with pytest.raises(UsageError, match="id is another one"):
        open_vault(secrets_path(spec_file))
    monkeypatch.setenv("BAKEHOUSE_AGE_IDENTITY", str(other))
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        with pytest.raises(UsageError, match="has a passphrase"):
            open_vault(secrets_path(spec_file))


def test_a_command_is_a_source(tmp_path: Path, key: Path, spec_file: Path) -> None:
    (tmp_path / "value").write_text("two\nlines\n")
    app = App("shop", archive="x", secrets=("a",))
    spec = spec_with(key, apps=(app,), sources={"a": Source(("cat", "value"))})
    assert gather(spec, spec_file) == {"a": "two\nlines"}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo hidden; echo 'not logged in' >&2; exit 4", "exit code 4\nnot logged in"),
        ("true", "printed nothing"),
        ("printf 'hidden\\0'", "printed a NUL byte"),
    ],
)
def test_a_failing_command_does_not_tell_what_it_printed(
    key: Path, spec_file: Path, script: str, why: str
) -> None:
    app = App("shop", archive="x", secrets=("a",))
    command = spec_file.parent / "source"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    spec = spec_with(key, apps=(app,), sources={"a": Source((str(command),))})
    with pytest.raises(BakehouseError) as caught:
        gather(spec, spec_file)
    assert why in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_the_ca_moves_into_the_secrets_file(
    tmp_path: Path, key: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, spec = Home(tmp_path / "home"), spec_with(key)
    assert find_ca(spec, spec_file, home) is None
    noted: list[str] = []
    first = open_ca(spec, spec_file, home, noted.append)
    assert "keep a copy" in noted.pop()
    kept = home.root / "ca/web/key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert open_ca(spec, spec_file, home, noted.append) == find_ca(spec, spec_file, home) == first
    editing(monkeypatch, tmp_path, "printf '# mine\\nkey: one' >\"$1\"")
    work.edit(spec, spec_file, quiet)
    assert not noted
    moved = open_ca(spec, spec_file, home, noted.append)
    assert f"{secrets_path(spec_file)} from now on: commit" in noted.pop()
    assert moved.private == first.private
    assert not kept.exists()
    vault = open_vault(secrets_path(spec_file))
    assert vault.text.startswith("# mine\nkey: one\n")
    assert vault.values[CA_KEY] == first.private
    kept.write_text(first.private)  # a copy that was brought, or what a kill left
    assert open_ca(spec, spec_file, home, noted.append) == moved
    assert open_vault(secrets_path(spec_file)).values[CA_KEY] == first.private
    elsewhere = open_ca(spec, spec_file, Home(tmp_path / "another"), noted.append)
    assert not noted
    assert elsewhere.public.split()[:2] == first.public.split()[:2]
    assert gather(spec, spec_file) == {}


def test_a_certificate_says_what_was_signed(tmp_path: Path, key: Path, spec_file: Path) -> None:
    ca = open_ca(spec_with(key), spec_file, Home(tmp_path / "home"), quiet)
    public = make_first_key().public
    text = sign_host_key(ca, public, "web-g1-e1", ["a", "203.0.113.1"], serial=7, validity=3600)
    found = parsed("web-g1-e1", text)
    assert (found.serial, found.principals) == (7, ("a", "203.0.113.1"))
    assert found.expires is not None


@pytest.fixture
def etc_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server's /etc/ssh, and /run/bakehouse beside it."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("KEY", "THROWAWAY", "NEXT", "INCLUDED"):
        monkeypatch.setattr(host_keys, name, folder / getattr(host_keys, name).name)
    monkeypatch.setattr(host_keys, "SSH", folder)
    monkeypatch.setattr(host_keys, "FIRST", tmp_path / "first_host_key")
    monkeypatch.setattr(state, "RUN", tmp_path)
    return folder


def with_throwaway() -> FirstKey:
    """The server booted with a throwaway key in its user data."""
    first = make_first_key()
    state.write(host_keys.FIRST, first.private)
    host_keys.first()
    assert host_keys.KEY.read_text() == first.private
    return first


def test_a_server_without_user_data_makes_its_own_key(etc_ssh: Path) -> None:
    host_keys.first()
    private = host_keys.KEY.read_text()
    assert host_keys.KEY.stat().st_mode & 0o777 == 0o600
    assert host_keys.own() == host_keys.public(host_keys.KEY).read_text().strip()
    host_keys.first()
    assert host_keys.KEY.read_text() == private
    assert not host_keys.THROWAWAY.exists()


def test_a_damaged_throwaway_does_not_leave_a_server_without_key(
    etc_ssh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host_keys.FIRST.write_text("-----BEGIN NONSENSE\n")
    host_keys.first()
    assert "damaged" in capsys.readouterr().out
    assert public_half(host_keys.KEY.read_text(), "").split()[0] == "ssh-ed25519"


def test_the_throwaway_is_used_and_never_signed(etc_ssh: Path) -> None:
    first = with_throwaway()
    assert host_keys.THROWAWAY.exists()
    before = os.umask(0o077)
    own = host_keys.own()
    os.umask(before)
    assert own.split()[1] != first.public.split()[1]
    assert host_keys.own() == own, "asked again, it tells the same"
    host_keys.replace()
    assert host_keys.own() == own
    assert host_keys.KEY.read_text() != first.private
    assert host_keys.public(host_keys.KEY).stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in etc_ssh.iterdir()) == [
        "ssh_host_ed25519_key",
        "ssh_host_ed25519_key.pub",
    ]


def test_a_kill_between_two_renames_is_mended(etc_ssh: Path) -> None:
    with_throwaway()
    host_keys.own()
    host_keys.NEXT.rename(host_keys.KEY)
    own = host_keys.own()
    host_keys.replace()
    assert host_keys.public(host_keys.KEY).read_text().strip() == own
    assert public_half(host_keys.KEY.read_text(), "").split()[1] == own.split()[1]


def test_the_throwaway_cannot_be_certified(etc_ssh: Path) -> None:
    first = with_throwaway()
    for foreign in (make_first_key().public, first.public):
        with pytest.raises(ProgramError, match="not of this server's own host key"):
            host_keys.install(foreign)
    assert not host_keys.INCLUDED.exists()


def test_the_verb_answers_in_json(
    tmp_path: Path, key: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = key.with_suffix(".pub").read_text().strip()
    spec_file.write_text(
        f"name: web\nborg: {{repository: /mnt/b}}\nsecrets: {{recipients: ['{public}']}}\n"
    )
    editing(monkeypatch, tmp_path, "echo 'borg_passphrase: hidden' >\"$1\"")
    project = Path(__file__).parents[2]

    def invoke(*words: str) -> str:
        command = [sys.executable, str(project / "tasks.py"), "secrets", *words]
        return run([*command, "--spec", str(spec_file), "--json"]).stdout

    assert json.loads(invoke("edit"))["changed"] is True
    assert json.loads(invoke("list")) == [
        {"name": "borg_passphrase", "source": "file", "used_by": ["borg"]}
    ]
    assert json.loads(invoke("rekey"))["recipients"] == [public]
