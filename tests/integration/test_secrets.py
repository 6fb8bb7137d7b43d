"""Secrets on a booted server: in its apps, over reboots, and nowhere else; and who it is, for SSH.

The server is the hobby spec's. Its app is told of two secrets by the files that a spec with them
would have brought.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest

from cloudinit.apps import compose_yaml
from cloudinit.boot import boot
from cloudinit.facts import server_json
from images import stored_plan
from images.home import Home
from images.hosts import certificates
from images.hosts.ca import HostCa, known_hosts_line, make_ca, revocation_list, revoke
from images.hosts.certificates import in_force
from images.hosts.keys import certify, make_first_key, trust, trust_ca
from images.lab import lab
from images.machine import Description, Machine, booted
from images.promote.job import ACTIVE, Site, labels
from images.promote.reach import Contact, LockedOutError
from images.providers.base import Order, Server
from images.run import CommandError, Result, run
from images.scheduled.renewal import EARLY, renew_due
from images.secrets.deliver import deliver, restart_readers
from images.ssh import Door, as_root, attempt, close, config_text, make_key, stored_key
from specs.model import Spec
from specs.plan import ImagePlan
from tests.memory import MemoryProvider

pytestmark = pytest.mark.root

APP = "bakehouse-app@guestbook"
NAME = "hobby-g7-e3"
AWKWARD = "$HOME 'single' \"double\" \\back ünï\n  second line\n\n"
"""What shells, environment files and YAML each take apart."""


@dataclass(frozen=True)
class Scene:
    """A booted server with its secrets, and what it should know."""

    machine: Machine
    image: Path
    planted: dict[str, str]
    log: Path
    ca: HostCa


def planted_values() -> dict[str, str]:
    return {
        name: f"planted-{secrets.token_hex(12)}{AWKWARD}"
        for name in ("borg_passphrase", "stripe-key", "mail.password")
    }


def tokens(scene: Scene) -> list[str]:
    """The part of each secret that stands nowhere by chance."""
    return [value.partition("$")[0] for value in scene.planted.values()]


def with_secrets(plan: ImagePlan) -> ImagePlan:
    """The image's plan, with a secret file and a secret variable for its app."""
    app = replace(
        plan.apps[0],
        secrets=("stripe-key",),
        secret_environment={"MAIL_PASSWORD": "mail.password"},
    )
    return replace(plan, apps=(app, *plan.apps[1:]))


@pytest.fixture(scope="module")
def scene(hobby_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A first server: reached by its throwaway host key, certified, its secrets delivered."""
    plan = stored_plan.load(Home(hobby_image.parents[2]), hobby_image.parent.name)
    first = make_first_key()

    def user_data(key: str) -> str:
        server = replace(plan.server, role="primary", may_init=True, operator_keys=(key,))
        return boot(replace(server, first_key=first.private))

    log = tmp_path_factory.mktemp("log") / "bakehouse.log"
    handler = logging.FileHandler(log)
    logger = logging.getLogger("bakehouse")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    what = Description(hobby_image, plan.server.admin, user_data)
    try:
        with lab() as place, booted(place, what) as machine:
            assert machine.host_key().split()[:2] == first.public.split()[:2]
            trust(machine.door, first.public)
            ca = make_ca(Spec("hobby"))
            certify(machine.door, ca, NAME, [NAME, machine.address.v4])
            assert machine.host_key().split()[1] != first.public.split()[1]
            told = with_secrets(plan.image)
            files = {
                "/etc/bakehouse/server.json": server_json(told),
                "/etc/bakehouse/apps/guestbook/compose.yaml": compose_yaml(told, 0),
            }
            for path, text in files.items():
                machine.run(f"cat >{path}", stdin=text)
            planted = planted_values()
            deliver(machine.door, planted)
            machine.run(f"systemctl restart {APP}")
            yield Scene(machine, hobby_image, planted, log, ca)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def file_in_app(scene: Scene, number: int) -> str:
    return scene.machine.run(f"docker exec guestbook-{number} cat /run/secrets/stripe-key").stdout


def variable_of_app(scene: Scene, number: int) -> str:
    """From the app's own process, a child of the container's init."""
    pid = f"docker inspect -f '{{{{.State.Pid}}}}' guestbook-{number}"
    line = f"cat /proc/$(pgrep -P $({pid}))/environ"
    words = scene.machine.run(line).stdout.split("\0")
    return next(word for word in words if word.startswith("MAIL_PASSWORD=")).partition("=")[2]


def check_app(scene: Scene) -> None:
    for number in (1, 2):
        assert file_in_app(scene, number) == scene.planted["stripe-key"]
        assert variable_of_app(scene, number) == scene.planted["mail.password"]


def test_the_app_has_its_file_and_its_variable(scene: Scene) -> None:
    check_app(scene)
    shell = "docker exec guestbook-1 python3 -c 'import os; print(os.environ[\"MAIL_PASSWORD\"])'"
    assert scene.machine.run(shell).stdout == f"{scene.planted['mail.password']}\n"
    modes = scene.machine.run("stat -c '%a %U' /run/bakehouse/secrets/*").stdout.splitlines()
    assert modes == ["600 root"] * 3


def test_a_killed_container_comes_back_with_them(scene: Scene) -> None:
    scene.machine.run("docker kill guestbook-1")
    scene.machine.run(
        "timeout 30 sh -c 'until docker exec guestbook-1 true 2>/dev/null; do sleep 0.2; done'"
    )
    check_app(scene)


def test_after_a_reboot_they_are_there_again(scene: Scene) -> None:
    scene.machine.reboot()
    scene.machine.run(f"timeout 60 sh -c 'until systemctl is-active {APP}; do sleep 0.2; done'")
    check_app(scene)


def found_in(scene: Scene, *places: Path) -> list[str]:
    """Files on this host that hold a planted secret; no word of the search is one."""
    words = ["grep", "-rlaF", "-f", "-", *map(str, places)]
    given = "\n".join(tokens(scene))
    return run(words, check=False, stdin=given, env={"LC_ALL": "C"}).stdout.splitlines()


def disk_of(machine: Machine) -> list[Path]:
    """What the server wrote, and what was written for it; not the image below, seen once more."""
    written = [path for path in (machine.folder / "memory").iterdir() if path.name != "merged"]
    return [*written, *(path for path in machine.folder.iterdir() if path.is_file())]


def lines_there(scene: Scene, command: str) -> int:
    """How many lines of a command's output on the server hold a planted secret; the patterns go in
    by standard input, or they would be found in this very command."""
    line = f"{{ {command}; }} 2>/dev/null | tr '\\0' '\\n' | grep -acF -f /dev/fd/3 3<&0 || true"
    given = "".join(f"{token}\n" for token in tokens(scene))
    return int(scene.machine.run(f"exec 3<&0; {line.replace(' 3<&0', '')}", stdin=given).stdout)


def test_the_search_finds_what_is_there(scene: Scene) -> None:
    assert lines_there(scene, "cat /run/bakehouse/secrets/* </dev/null") == 3


def test_no_disk_holds_one_in_clear(scene: Scene) -> None:
    """Of the image and of the server, with Docker's folders and the seed of cloud-init."""
    scene.machine.run("sync")
    own = disk_of(scene.machine)
    assert scene.machine.folder / "memory/var-lib-docker" in own
    assert found_in(scene, scene.image, *own) == []


def test_no_log_tells_one(scene: Scene) -> None:
    assert lines_there(scene, "journalctl --output=export --all </dev/null") == 0
    assert lines_there(scene, "docker inspect $(docker ps -q) </dev/null") == 0
    assert "bakehouse.credentials" in scene.log.read_text()
    assert found_in(scene, scene.log) == []


def test_no_process_list_shows_one(scene: Scene) -> None:
    """For root, words; for everybody else, environments, too."""
    assert lines_there(scene, "cat /proc/[0-9]*/cmdline </dev/null") == 0
    everybody = "runuser -u nobody -- sh -c 'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline'"
    assert lines_there(scene, f"{everybody} </dev/null") == 0
    words = b"".join(path.read_bytes() for path in cmdlines())
    assert not any(token.encode() in words for token in tokens(scene))


def cmdlines() -> Iterator[Path]:
    """What this host's processes are called with; one may end while we look."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.exists():
            yield path


def test_what_is_delivered_no_more_disappears(scene: Scene) -> None:
    fewer = {name: text for name, text in scene.planted.items() if name != "mail.password"}
    look = "ls /run/bakehouse/secrets"
    try:
        deliver(scene.machine.door, fewer)
        assert scene.machine.run(look).stdout.split() == ["borg_passphrase", "stripe-key"]
        scene.machine.run("systemctl restart bakehouse-secrets")
        assert scene.machine.run(look).stdout.split() == ["borg_passphrase", "stripe-key"]
    finally:
        deliver(scene.machine.door, scene.planted)


def test_who_reads_what_changed_starts_anew(scene: Scene) -> None:
    readers = {"mail.password": ("guestbook",), "borg_passphrase": ("borg",)}
    new = {**scene.planted, "mail.password": "changed", "borg_passphrase": "changed"}
    try:
        assert deliver(scene.machine.door, new) == ("borg_passphrase", "mail.password")
        assert restart_readers(scene.machine.door, {"borg_passphrase"}, readers) == ()
        assert variable_of_app(scene, 1) == scene.planted["mail.password"]
        assert restart_readers(scene.machine.door, {"mail.password"}, readers) == ("guestbook",)
        assert variable_of_app(scene, 1) == "changed"
    finally:
        deliver(scene.machine.door, scene.planted)


def test_a_failing_delivery_tells_no_value(scene: Scene) -> None:
    scene.machine.run("mv /usr/bin/systemd-creds /usr/bin/systemd-creds.away")
    try:
        with pytest.raises(CommandError, match="cannot seal the secrets") as caught:
            deliver(scene.machine.door, {"key": "planted-never-shown"})
    finally:
        scene.machine.run("mv /usr/bin/systemd-creds.away /usr/bin/systemd-creds")
    assert "planted" not in str(caught.value)
    deliver(scene.machine.door, scene.planted)


def client(scene: Scene, folder: Path, options: Sequence[str] = ()) -> Result:
    """A person's ssh to the server's address, who knows nothing but the CA."""
    known = folder / "known_hosts"
    line = known_hosts_line(scene.ca, [scene.machine.address.v4])
    known.write_text(f"{line}\n", encoding="utf-8")
    settings = {
        "UserKnownHostsFile": known,
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "IdentityFile": scene.machine.folder / "key",
        "IdentityAgent": "none",
        "BatchMode": "yes",
    }
    words = [f"-o{key}={value}" for key, value in settings.items()]
    address = f"{scene.machine.what.admin}@{scene.machine.address.v4}"
    return scene.machine.client(["ssh", "-Fnone", *words, *options, address, "true"], check=False)


def test_a_client_needs_the_ca_line_alone(scene: Scene, tmp_path: Path) -> None:
    assert client(scene, tmp_path) == Result(0, "", "")
    known = in_force(NAME, scene.machine.door)
    assert known.principals == (NAME, scene.machine.address.v4)


def test_a_client_of_another_ca_is_refused(scene: Scene, tmp_path: Path) -> None:
    other = replace(scene, ca=make_ca(Spec("other")))
    assert "verification failed" in client(other, tmp_path).stderr


def test_another_operator_trusts_the_ca_for_the_servers_name(scene: Scene, tmp_path: Path) -> None:
    key = stored_key(scene.machine.folder)
    what = scene.machine.what
    config = tmp_path / "ssh_config"

    def door(name: str) -> Door:
        text = config_text(tmp_path, what.address.v4, what.port, what.admin, key, known_as=name)
        config.write_text(text, encoding="utf-8")
        found = Door(config, scene.machine.door.prefix)
        trust_ca(found, scene.ca, name)
        return found

    impostor = attempt(door("hobby-g8-e4"), "true", timeout=30)
    assert impostor.code == 255
    assert "hobby-g8-e4" in impostor.stderr
    by_ca = door(NAME)
    assert as_root(by_ca, "id -u", timeout=30).stdout == "0\n"
    certify(by_ca, scene.ca, NAME, [NAME, scene.machine.address.v4])
    close(by_ca)
    assert as_root(by_ca, "id -u", timeout=30).stdout == "0\n", "it knows the server as before"
    close(by_ca)


@pytest.mark.parametrize("lacks", ["key", "ca", "nothing"])
def test_a_machine_without_the_keys_takes_nobody_for_dead(
    scene: Scene, tmp_path: Path, lacks: str
) -> None:
    """What the real ssh says of a server that lives."""
    key = make_key(tmp_path) if lacks == "key" else stored_key(scene.machine.folder)
    what = scene.machine.what
    text = config_text(tmp_path, what.address.v4, what.port, what.admin, key, known_as=NAME)
    door = Door(tmp_path / "ssh_config", scene.machine.door.prefix)
    door.config.write_text(text, encoding="utf-8")
    trust_ca(door, make_ca(Spec("hobby")) if lacks == "ca" else scene.ca, NAME)
    server = Server("1", NAME, "running", {}, what.address.v4, "", "")
    contact = Contact(server, lambda: door)
    if lacks == "nothing":
        assert contact.shell("id -u").stdout == "0\n"
        close(door)
        return
    with pytest.raises(LockedOutError, match=f"{NAME} answers"):
        contact.shell("id -u")


def test_a_revoked_server_is_refused(scene: Scene, tmp_path: Path) -> None:
    spec_file = tmp_path / "hobby.yaml"
    assert revocation_list(scene.ca, spec_file, tmp_path / "krl") is None
    assert revoke(spec_file, "hobby-g6-e2")
    listed = revocation_list(scene.ca, spec_file, tmp_path / "krl")
    option = [f"-oRevokedHostKeys={listed}"]
    assert client(scene, tmp_path, option).code == 0
    assert revoke(spec_file, NAME)
    assert not revoke(spec_file, NAME)
    revocation_list(scene.ca, spec_file, tmp_path / "krl")
    refused = client(scene, tmp_path, option)
    assert refused.code == 255
    assert "revoked" in refused.stderr


def test_an_expired_certificate_is_refused_until_it_is_renewed(
    scene: Scene, tmp_path: Path
) -> None:
    names = [NAME, scene.machine.address.v4]
    key = scene.machine.host_key()
    certify(scene.machine.door, scene.ca, NAME, names, validity=-10)
    refused = client(scene, tmp_path)
    assert refused.code == 255
    assert "expired" in refused.stderr
    certify(scene.machine.door, scene.ca, NAME, names)
    assert client(scene, tmp_path).code == 0
    assert scene.machine.host_key() == key


@dataclass(frozen=True)
class Deployed(Site):
    """A deployment that is one booted server."""

    machine: Machine | None = None

    def contact(self, server: Server) -> Contact:
        assert self.machine is not None
        door = self.machine.door
        return Contact(replace(server, address=self.machine.address.v4), lambda: door)


def test_a_scheduled_run_renews_one_that_ends_soon(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "open_ca", lambda *_: scene.ca)
    cloud, spec = MemoryProvider(), Spec("hobby")
    cloud.create_server(Order(NAME, "image", "", labels("hobby", 7, "image", ACTIVE, 3)))
    site = Deployed(Home(tmp_path), cloud, spec, tmp_path / "hobby.yaml", machine=scene.machine)
    told: list[str] = []

    def days() -> int:
        assert renew_due(site, time.time(), told.append) == []
        expires = in_force(NAME, scene.machine.door).expires
        assert expires is not None
        return (expires - datetime.now()).days

    names, soon = [NAME, scene.machine.address.v4], int(EARLY.total_seconds()) - 3600
    certify(scene.machine.door, scene.ca, NAME, names, validity=soon + 2 * 3600)
    assert days() == EARLY.days
    assert not told
    certify(scene.machine.door, scene.ca, NAME, names, validity=soon)
    assert days() > 88
    assert f"{NAME} has a fresh SSH host certificate" in told.pop()
    assert client(scene, tmp_path).code == 0
    assert days() > 88
    assert not told


def test_a_certificate_of_another_key_changes_nothing(scene: Scene, tmp_path: Path) -> None:
    program = "python3 -IB -m bakehouse.host_keys install"
    before = in_force(NAME, scene.machine.door)
    foreign = make_first_key().public
    with pytest.raises(CommandError, match="not of this server's own host key"):
        scene.machine.run(program, stdin=f"{foreign}\n")
    assert in_force(NAME, scene.machine.door) == before
    assert json.loads(scene.machine.run("python3 -IB -m bakehouse.host_keys own").stdout)
