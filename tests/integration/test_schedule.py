"""Schedules, as the programs that will read them see them."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from images.history import journal
from images.home import Home
from images.lab import lab
from images.machine import Machine, booted
from images.run import run
from images.scheduled import due
from images.scheduled import schedule as scheduling
from images.scheduled.schedule import OF_A_SERVER, PROJECT, install, remove, schedule, write
from specs.errors import BakehouseError, UsageError
from specs.model import Deploy, Rebuild, Spec
from specs.read import read
from tests.integration.conftest import Describe

HOBBY = PROJECT / "specs/hobby.yaml"
SPEC = read(HOBBY)
CLOUDS = ("local", "hetzner", "digitalocean")
SAYS = '#!/bin/sh\necho "$PWD: $TOKEN: $*"\n'
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


def at(provider: str, **changes: str) -> Spec:
    deploy = Deploy(provider=provider)  # type: ignore[arg-type]
    return Spec("hobby", deploy=deploy, rebuild=Rebuild(**changes))  # type: ignore[arg-type]


def checked(schema: str, paths: list[Path]) -> None:
    """Hold files against the schema that their service publishes."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    assert "ok" in run([*check, *map(str, paths)]).stdout


@pytest.mark.parametrize("cloud", CLOUDS)
def test_githubs_workflows_fit_its_schema(tmp_path: Path, cloud: str) -> None:
    paths = write(schedule(at(cloud), HOBBY, "github-actions"), tmp_path)
    assert [path.name for path in paths] == ["rebuild-hobby.yml", "plan-hobby.yml"]
    checked("github-workflows", paths)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_gitlabs_pipeline_fits_its_schema(tmp_path: Path, cloud: str) -> None:
    checked("gitlab-ci", write(schedule(at(cloud), HOBBY, "gitlab-ci"), tmp_path))


def test_a_wrong_workflow_would_be_found(tmp_path: Path) -> None:
    (path, _) = write(schedule(SPEC, HOBBY, "github-actions"), tmp_path)
    path.write_text(path.read_text().replace("runs-on:", "runs_on:"))
    with pytest.raises(BakehouseError):
        checked("github-workflows", [path])


def test_tokens_come_from_the_runner(tmp_path: Path) -> None:
    text = "".join(schedule(at("hetzner"), HOBBY, "github-actions").files.values())
    assert "HCLOUD_TOKEN: ${{ secrets.HCLOUD_TOKEN }}" in text
    assert "BAKEHOUSE_OPERATOR_KEY: ${{ secrets.BAKEHOUSE_OPERATOR_KEY }}" in text
    assert "id-token: write" in text
    assert "runs-on: ubuntu-latest" in text


@needs_systemd
@pytest.mark.root
def test_systemd_takes_the_units_and_the_calendar(tmp_path: Path) -> None:
    spec = at("local", schedule="Mon,Thu 22:30")
    paths = write(schedule(spec, HOBBY, "systemd"), tmp_path)
    run(["systemd-analyze", "verify", "--man=no", *map(str, paths)])
    shown = run(["systemd-analyze", "calendar", "Mon,Thu *-*-* 22:30:00 UTC"]).stdout
    assert "22:30:00" in shown
    assert "OnCalendar=Mon,Thu *-*-* 22:30:00 UTC\n" in paths[1].read_text()


@pytest.mark.root
def test_systemd_starts_it_at_each_boot_until_it_is_removed(tmp_path: Path) -> None:
    found = schedule(SPEC, HOBBY, "systemd")
    wanted = tmp_path / "etc/systemd/system/timers.target.wants/bakehouse-rebuild-hobby.timer"
    assert len(install(found, tmp_path)) == 2
    assert wanted.is_symlink()
    assert len(remove(found, tmp_path)) == 2
    assert not wanted.is_symlink()
    assert remove(found, tmp_path) == []


def test_cron_has_one_line_until_it_is_removed(tmp_path: Path) -> None:
    found = schedule(SPEC, HOBBY, "cron")
    (path,) = install(found, tmp_path)
    (line,) = [li for li in path.read_text().splitlines() if "invoke rebuild" in li]
    minute, *rest = line.split()
    assert 0 <= int(minute) < 60
    assert rest[:5] == ["*", "*", "*", "*", "root"]
    assert path.stat().st_mode & 0o777 == 0o644  # cron ignores what others may write
    assert remove(found, tmp_path) == [path]


def test_crons_command_starts_a_run_with_its_tokens(tmp_path: Path) -> None:
    """As sh reads it, with a bootstrap that only says how it was called."""
    (text,) = schedule(SPEC, HOBBY, "cron").files.values()
    command = text.splitlines()[-1].split(" root ", 1)[1]
    (tmp_path / "bootstrap").write_text(SAYS)
    (tmp_path / "bootstrap").chmod(0o755)
    tokens = tmp_path / "tokens"
    tokens.write_text("TOKEN=secret\n")
    there = command.replace("/etc/bakehouse/rebuild-hobby.env", str(tokens))
    there = there.replace(str(PROJECT), str(tmp_path))
    called = f"invoke rebuild --due --spec {tmp_path}/specs/hobby.yaml"
    assert run(["sh", "-c", there]).stdout == f"{tmp_path}: secret: {called}\n"
    tokens.unlink()
    assert run(["sh", "-c", there]).stdout == f"{tmp_path}: : {called}\n"


@pytest.mark.root
def test_systemd_starts_a_run_with_its_tokens_also_after_a_pause(
    hobby: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that runs systemd; its bootstrap only says how it was called."""
    project = Path("/srv/bakehouse")  # wherever we are: nothing below its /tmp can be executed
    monkeypatch.setattr(scheduling, "PROJECT", project)
    spec = project / "specs/hobby.yaml"
    found = schedule(at("local", schedule="Sun 03:00"), spec, "systemd")
    timer, service = "bakehouse-rebuild-hobby.timer", "bakehouse-rebuild-hobby.service"
    with lab() as place, booted(place, hobby("throwaway", True)) as machine:
        for path, text in found.files.items():
            machine.run(f"cat >/{path}", stdin=text)
        bootstrap = f"{project}/bootstrap"
        machine.run(f"mkdir -p {project} && cat >{bootstrap} && chmod +x {bootstrap}", stdin=SAYS)
        machine.run("echo TOKEN=secret >/etc/bakehouse/rebuild-hobby.env")
        machine.run(f"systemctl daemon-reload && systemctl enable --now {timer}")
        start = elapses(machine, timer)
        assert (start.strftime("%a"), start.hour) == ("Sun", 3)
        machine.run(f"systemctl start {service}")
        said = machine.run(f"journalctl -u {service} --output=cat").stdout
        assert f"{project}: secret: invoke rebuild --spec {spec}\n" in said
        stamp = f"/var/lib/systemd/timers/stamp-{timer}"
        machine.run(f"systemctl stop {timer} && touch -d '9 days ago' {stamp}")
        machine.run(f"systemctl start {timer}")
        assert elapses(machine, timer) <= datetime.now(UTC) + timedelta(hours=1)


def elapses(machine: Machine, timer: str) -> datetime:
    """When a timer there starts its service next; its clock is UTC."""
    shown = machine.run(f"systemctl show -P NextElapseUSecRealtime {timer}").stdout.strip()
    return datetime.strptime(shown, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)


def test_a_server_of_ours_is_no_place_for_it(tmp_path: Path) -> None:
    (tmp_path / OF_A_SERVER).parent.mkdir(parents=True)
    (tmp_path / OF_A_SERVER).touch()
    with pytest.raises(BakehouseError, match="another machine"):
        install(schedule(SPEC, HOBBY, "cron"), tmp_path)


def test_workflows_are_committed_not_installed(tmp_path: Path) -> None:
    found = schedule(SPEC, HOBBY, "github-actions")
    with pytest.raises(UsageError, match="committed"):
        install(found, tmp_path)
    with pytest.raises(UsageError, match="outside of"):
        schedule(SPEC, tmp_path / "web.yaml", "gitlab-ci")
    with pytest.raises(UsageError, match="no such scheduler"):
        schedule(SPEC, HOBBY, "anacron")


def test_a_path_that_cron_would_take_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it holds '%'"):
        schedule(SPEC, tmp_path / "50%.yaml", "cron")


def test_a_run_is_due_once_for_each_start(tmp_path: Path) -> None:
    home, now = Home(tmp_path), datetime.now(UTC)
    hourly = Spec("web", rebuild=Rebuild(schedule=f"{now - timedelta(minutes=2):%H:%M}"))
    assert due.waits(home, hourly) == ""
    journal(home, "web").record("build", "done")
    assert due.waits(home, hourly) == ""
    journal(home, "web").record("rebuild", "failed")
    assert "not due" in due.waits(home, hourly)
    assert due.waits(home, hourly, now + timedelta(days=1)) == ""
