"""What the peer may ask, in which role; what it may read; how it is reached."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from images.server import (
    guard,
    hand,
    holding,
    orders,
    pooling,
    record,
    roles,
    sending,
    state,
    steps,
    volume,
)
from images.server.roles import RefusedError, Role
from images.server.session import Session
from images.server.state import ProgramError


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server of files only."""
    for name in ("etc", "lib", "proc"):
        (tmp_path / name).mkdir()
    facts: dict[str, Any] = {"name": "x", "postgres": None, "apps": [], "borg": None}
    facts["data"] = {"paths": ["/srv/f"]}
    (tmp_path / "etc/server.json").write_text(json.dumps(facts))
    (tmp_path / "etc/boot.json").write_text(json.dumps({"role": "primary"}))
    (tmp_path / "proc/boot_id").write_text("now")
    monkeypatch.setattr(state, "ETC", tmp_path / "etc")
    monkeypatch.setattr(state, "LIB", tmp_path / "lib")
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    monkeypatch.setattr(state, "EXPECTED", tmp_path / "run/expected")
    monkeypatch.setattr(state, "ROLE", tmp_path / "lib/role.json")
    monkeypatch.setattr(state, "BOOT_ID", tmp_path / "proc/boot_id")
    return tmp_path


def asked(**question: Any) -> dict[str, Any]:
    return hand.Hand().answer(question)


NOT_FENCED = [verb for verb, (_, needs) in hand.VERBS.items() if needs and "fenced" not in needs]


@pytest.mark.parametrize("verb", NOT_FENCED)
def test_a_verb_is_refused_in_a_role_that_it_does_not_fit(server: Path, verb: str) -> None:
    record.store(Role(7, "fenced", "now"))
    answer = asked(do=verb, epoch=7)
    assert answer["ok"] is False
    assert answer["error"] == f"{verb}: refused, this server is fenced in epoch 7"
    assert answer["role"]["state"] == "fenced"
    assert asked(do=verb, epoch=6)["error"].startswith("epoch 6 is over")


def test_an_armed_server_of_another_boot_obeys_nobody(server: Path) -> None:
    record.store(Role(7, "armed", "before", 1e9))
    assert "refused" in asked(do="pause", epoch=7, seconds=1)["error"]


@pytest.mark.parametrize("epoch", [None, "7", 7.0, True])
def test_an_epoch_is_a_number(server: Path, epoch: Any) -> None:
    assert asked(do="give_up", epoch=epoch)["ok"] is False
    assert not state.ROLE.exists()


OTHER_NAMES: list[Any] = [["x"], ["bakehouse", "x"], ["bakehouse\\"], "bakehouse", "", None, {}]


@pytest.mark.parametrize("names", OTHER_NAMES)
def test_commits_wait_for_nobody_else(
    server: Path, names: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(Session, "postgres", lambda _: None)
    monkeypatch.setattr("images.server.acts.sync_names", lambda _, names: waited.append(names))
    record.store(Role(7, "armed", "now", 1e9))
    assert "is called bakehouse" in asked(do="sync_names", epoch=7, names=names)["error"]
    assert not waited
    assert asked(do="sync_names", epoch=7, names=["bakehouse"])["ok"]
    assert asked(do="sync_names", epoch=7, names=[])["ok"]
    assert waited == [["bakehouse"], []]


def test_commits_wait_for_the_peer_in_a_swap_only(server: Path) -> None:
    for role in (Role(6, "serving"), Role(7, "serving"), Role(7, "restored", "now")):
        record.store(role)
        assert "refused" in asked(do="sync_names", epoch=7, names=["bakehouse"])["error"]


@pytest.mark.parametrize(
    ("state", "question"),
    [
        ("serving", {"do": "slot", "name": "x"}),
        ("following", {"do": "follow", "name": "x' y = '", "slot": "bakehouse"}),
        ("following", {"do": "follow", "name": "bakehouse", "slot": "x"}),
    ],
)
def test_the_peer_follows_by_its_name_only(
    server: Path, state: roles.State, question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(Session, "postgres", lambda _: None)
    monkeypatch.setattr("images.server.acts.follow", lambda *_: done.append("follow"))
    monkeypatch.setattr("images.server.acts.make_slot", lambda *_: done.append("slot"))
    record.store(Role(7, state, "now"))
    assert "is called bakehouse" in asked(epoch=7, **question)["error"]
    assert not done
    assert asked(epoch=7, **{**question, "name": "bakehouse", "slot": "bakehouse"})["ok"]


@pytest.fixture
def guarded(server: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The units that were stopped on a server that serves in epoch 6, and whose guard runs."""
    stopped: list[str] = []
    monkeypatch.setattr("images.server.acts.active", list)
    monkeypatch.setattr("images.server.acts.systemctl", lambda *words: stopped.append(words[-1]))
    record.store(Role(6, "serving", "now"))
    return stopped


def test_nobody_is_armed_in_an_epoch_that_was_not_announced(
    server: Path, guarded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    question = {"do": "arm", "epoch": 7, "seconds": 60}
    assert "no run of the operator announced" in asked(**question)["error"]
    record.expect(8)
    assert "guard expect 7" in asked(**question)["error"]
    assert not guarded
    record.expect(7)
    assert asked(**question)["role"]["state"] == "armed"
    assert asked(**question)["ok"], "the unit on green was killed"
    assert (server / "run/expected").stat().st_mode & 0o777 == 0o600
    record.store(Role(7, "restored", "now"))
    assert asked(**question)["ok"] is False, "once in an epoch"
    record.expect(0)
    for epoch in (0, -1, 8):
        assert "announced" in asked(do="arm", epoch=epoch, seconds=60)["error"]


def test_the_guard_is_told_by_its_own_verb(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["guard", "expect", "7"])
    guard.main()
    record.refuse_unexpected(7)
    with pytest.raises(ProgramError, match="announced"):
        record.refuse_unexpected(6)


@pytest.mark.parametrize("seconds", ["Infinity", "NaN", "-Infinity", "1e300", "121", "0", "-1"])
def test_an_armed_server_waits_two_minutes_at_most(
    server: Path, guarded: list[str], seconds: str
) -> None:
    record.expect(7)
    question = {"do": "arm", "epoch": 7, "seconds": json.loads(seconds)}
    assert "at most 120" in asked(**question)["error"]
    assert record.load() == Role(6, "serving", "now")
    assert asked(**{**question, "seconds": 120})["ok"]
    assert orders.SECONDS <= record.LONGEST


def test_a_fence_proves_itself_to_the_boot_that_asked(server: Path) -> None:
    record.store(Role(7, "armed", "now", 1e9))
    answer = asked(do="fence", epoch=7, lsn="", boot="theirs")
    assert (answer["ok"], answer["state"], answer["asked_by"]) == (True, "fenced", "theirs")
    record.store(Role(7, "standby", "now"))
    with pytest.raises(ProgramError, match="does not prove"):
        record.claim(7, answer)
    assert record.claim(7, {**answer, "asked_by": "now"}).state == "claimed"


def test_the_peer_reads_the_folders_that_are_carried_and_nothing_else(server: Path) -> None:
    good = "rsync --server --sender -logDtpAXre.iLsfxCIvu --numeric-ids --timeout=600 . /data/"
    folders = ["/data", "/srv/f"]
    assert sending.allowed(good.split(), folders)
    assert sending.allowed(good.replace("/data/", "/srv/f/").split(), folders)
    for old, new in (
        ("/data/", "/"),
        ("/data/", "/data/../etc/"),
        ("/data/", "/data"),
        (" --sender", ""),
        ("--numeric-ids", "--remove-source-files"),
        ("--numeric-ids", "--log-file=/etc/passwd"),
        ("-logDtpAXre.", "-slogDtpAXre."),
        (". /data/", ". /data/ /etc/"),
        ("rsync ", "/tmp/rsync "),
    ):
        assert not sending.allowed(good.replace(old, new, 1).split(), folders), (old, new)


def test_held_are_new_connections_of_caddy_only() -> None:
    text = holding.table([20000, 20001], 542, "redirect to :19999")
    rule = "meta skuid 542 ip daddr 127.0.0.1 tcp dport { 20000, 20001 } redirect to :19999"
    assert rule in text
    assert text.startswith("table ip bakehouse_swap\ndelete table ip bakehouse_swap\n")


def test_established_connections_are_read_from_the_kernels_table() -> None:
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
        "   0: 0100007F:4E1F 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0\n"
        "   1: 0100007F:C350 0100007F:4E20 01 00000000:00000000 00:00000000 00000000   542\n"
        "   2: 0100007F:4E1F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    )
    assert list(holding.established(text)) == [
        (("0100007F", 19999), ("0100007F", 50000), 0),
        (("0100007F", 50000), ("0100007F", 20000), 542),
    ]


def test_a_request_that_waits_at_the_holder_is_none_that_an_app_answers() -> None:
    """Caddy's end of it looks like that of a running one; its answer must not be held back."""
    text = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
        "   0: 0100007F:4E1F 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0\n"
        "   1: 0100007F:C350 0100007F:4E20 01 00000000:00000000 00:00000000 00000000   542\n"
        "   2: 0100007F:C351 0100007F:4E21 01 00000000:00000000 00:00000000 00000000   542\n"
        "   3: 0100007F:C352 0100007F:4E21 01 00000000:00000000 00:00000000 00000000   997\n"
        "   4: 0100007F:C353 0100007F:1F40 01 00000000:00000000 00:00000000 00000000   542\n"
    )
    assert holding.answering(text, 542, {20000, 20001}) == {(20001, 0xC351)}


def test_two_looks_tell_requests_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One runs all the time, one has begun between the looks, one after the second."""
    seen = {(1, 1)}
    monkeypatch.setattr(holding, "running", lambda: set(seen))
    session = Session()
    assert session.requests() == {"running": 1, "soon": 0, "young": 0}
    seen.add((2, 2))
    assert session.requests() == {"running": 2, "soon": 1, "young": 1}
    session.look_again()
    seen.add((3, 3))
    assert session.old == {(1, 1), (2, 2)}
    assert session.requests() == {"running": 3, "soon": 2, "young": 1}


def test_slow_transfers_are_not_waited_for() -> None:
    assert steps.young({"running": 3, "young": 1}) == 1
    assert steps.young({"running": 3}) == 3, "an older server cannot tell"


def test_the_pooler_leads_here_or_to_the_peer() -> None:
    assert pooling.text(["a", "b"], "here") == (
        "[databases]\n"
        "a = host=/run/postgresql port=5432 dbname='a'\n"
        "b = host=/run/postgresql port=5432 dbname='b'\n"
    )
    assert "host=/run/bakehouse/peer " in pooling.text(["a"], "peer")


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        (Role(1, "serving", "before"), "primary"),
        (Role(1, "restored", "now"), "primary"),
        (Role(1, "restored", "before"), "standby"),
        (Role(1, "armed", "now", 1e9), "standby"),
        (Role(1, "following", "now"), "standby"),
    ],
)
def test_the_role_that_other_programs_see(server: Path, role: Role, seen: str) -> None:
    assert state.role() == "primary"
    record.store(role)
    assert state.role() == seen
    assert (state.role() == "primary") is roles.primary(role, "now")


class Gone:
    """Standard error of a session whose other end has hung up."""

    def write(self, _: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_what_was_recorded_is_done_though_nobody_listens(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a server would be fenced by its record and not by Postgres' files."""
    record.store(Role(7, "armed", "now", 1e9))
    done: list[Role] = []
    monkeypatch.setattr(sys, "stderr", Gone())
    record.fence(7, done.append)
    monkeypatch.undo()
    assert [role.state for role in done] == ["fenced"]


def test_only_a_server_of_no_pair_is_appointed(server: Path) -> None:
    facts = json.loads((server / "etc/server.json").read_text())
    for strategy, role in (("volume", Role(7, "fenced")), ("none", Role(7, "claimed", "before"))):
        facts["data"]["strategy"] = strategy
        (server / "etc/server.json").write_text(json.dumps(facts))
        record.store(role)
        assert record.appoint(8) == Role(8, "serving", "now")
        with pytest.raises(ProgramError, match="epoch 7 is over"):
            record.appoint(7)
    facts["data"]["strategy"] = "replica"
    (server / "etc/server.json").write_text(json.dumps(facts))
    record.store(Role(7, "standby", "now"))
    with pytest.raises(ProgramError, match="is a replica"):
        record.appoint(8)


def test_a_volume_is_released_once_and_by_nobody_who_is_late() -> None:
    assert volume.released(Role(0, "serving"), 7).state == "fenced"
    fenced = Role(7, "fenced", "now")
    assert volume.released(fenced, 9) == fenced  # the run that goes on with it has a newer epoch
    for late in (Role(9, "fenced", "now"), Role(9, "serving", "now"), Role(7, "standby", "now")):
        with pytest.raises(RefusedError):
            volume.released(late, 7)
