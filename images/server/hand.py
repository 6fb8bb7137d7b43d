"""The hand: what the peer may do to this server in a swap, over one SSH session, a line at a time.

It is the forced command of the account `bakehouse-peer`. Each line in is a JSON object
`{"do": VERB, "epoch": N, ...}`, each line out `{"ok": true, "ms": 1.9, ...}` or
`{"ok": false, "error": ..., "role": {...}}`; what was refused did not happen. The guard's rules
stand above every verb: an epoch that is over is refused, and so is what does not fit this server's
role. Every verb may be repeated, and then only says how things are. When the session ends nothing
happens here: a server that is armed goes back to work by its own guard.

Connections to Postgres and the pooler's console stay open from `arm` on, to be none of the pause.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from . import (
    acts,
    apps,
    guard,
    holding,
    late,
    pooling,
    preflight,
    record,
    replication,
    roles,
    sending,
    state,
)
from .roles import State
from .session import Session
from .state import ProgramError

WAIT: Final = 1.0
"""Seconds that `late` waits for an answer that is ready, unless the question says."""

Answer = dict[str, Any]
Question = Mapping[str, Any]


class Hand(Session):
    """What the peer may ask."""

    def answer(self, question: Question) -> Answer:
        """Do one verb; every failure is an answer, too."""
        start = time.monotonic()
        try:
            verb, needs = VERBS[question["do"]]
            if needs is not None:
                self._check(question, needs)
            found = verb(self, question)
            return {"ok": True, "ms": _since(start), **found}
        except (ProgramError, OSError, KeyError, TypeError, ValueError) as error:
            self.hang_up()
            why = f"no {error}" if isinstance(error, KeyError) else str(error) or repr(error)
            return {"ok": False, "ms": _since(start), "error": why, "role": _role_or_none()}

    @staticmethod
    def _check(question: Question, needs: Roles) -> None:
        """Raises ProgramError unless the question's epoch and this server's role allow the verb."""
        role, epoch, boot = record.load(), _epoch(question), state.boot_id()
        if epoch < role.epoch:
            raise ProgramError(f"epoch {epoch} is over: this server is {record.told(role)}")
        own = role.state in needs and role.epoch == epoch
        live = role.state != "armed" or role.boot == boot
        before = "serving" in needs and roles.primary(role, boot)
        if not (own and live) and not before:
            raise ProgramError(f"{question['do']}: refused, this server is {record.told(role)}")

    def hello(self, _: Question) -> Answer:
        """What a preflight wants to know of this server (`preflight.facts`)."""
        database = state.server()["postgres"] is not None
        found = preflight.facts(self.postgres(), self.console()) if database else preflight.plain()
        return {**found, "role": record.status()}

    def status(self, _: Question) -> Answer:
        """The guard's role, and how far a swap went, by cheap probes.

        `left` are seconds to the deadline (null when not armed), `lsn` is the cluster's latest
        checkpoint, `target` where the pooler leads, `hold` none, hold or forward.
        """
        role = record.status()
        facts: Answer = {"role": role, "left": role["left"], "hold": holding.now()}
        facts |= {"running": len(holding.running()), "workers": acts.active(acts.workers())}
        if not state.server()["postgres"]:
            return {**facts, "postmaster": False, "lsn": "", "paused": False, "target": "here"}
        known = (state.cluster_folder(acts.version()) / "PG_VERSION").exists()
        lsn = replication.controldata(acts.version()).lsn if known else ""
        facts |= {"postmaster": acts.postmaster() != 0, "lsn": lsn, "target": pooling.target()}
        try:
            paused = pooling.paused(self.console())
        except ProgramError:
            paused = False
        return {**facts, "paused": paused}

    def give_up(self, question: Question) -> Answer:
        """This server promised never to take over in that epoch. Refused once it has claimed."""
        record.give_up(_epoch(question))
        return {"role": record.status()}

    def standbys(self, _: Question) -> Answer:
        """`replication.standbys`."""
        return {"rows": replication.standbys(self.postgres())}

    def running(self, question: Question) -> Answer:
        """`Session.requests`; `again`: this look counts as the last one before the hold."""
        if question.get("again"):
            self.look_again()
        return self.requests()

    def probe(self, _: Question) -> Answer:
        """An app's own way to a write was answered: through the pooler, by a primary."""
        return {"transaction": pooling.probe()}

    def reach(self, question: Question) -> Answer:
        """The tunnel leads to the peer's Postgres and to its apps with files, all `but` these."""
        if state.server()["postgres"]:
            pooling.reach()
        for app in holding.apps():
            for port in app["ports"] if app["name"] not in question["but"] else []:
                why = apps.asked(port + holding.FORWARD, app["health"] or "/")
                if why and (app["health"] or not why.startswith("answers")):
                    raise ProgramError(f"{app['name']} on the peer, by the tunnel: {why}")
        return {}

    def slot(self, question: Question) -> Answer:
        """A slot `name`, which is the peer's, keeps the log for it."""
        acts.make_slot(self.postgres(), replication.known(question["name"]))
        return {}

    def arm(self, question: Question) -> Answer:
        """Without a further word this server goes back to work after `seconds`.

        Refused in any epoch but the one that the operator's run announced.
        """
        record.refuse_unexpected(_epoch(question))
        if "bakehouse-guard.service" not in acts.active(["bakehouse-guard.service"]):
            raise ProgramError("bakehouse-guard.service does not run: nobody would restore")
        acts.systemctl("stop", "bakehouse-swap.service")  # it may still carry files here
        if state.server()["postgres"]:
            self.console()
            self.postgres()
        record.arm(_epoch(question), float(question["seconds"]))
        return {"role": record.status()}

    def sync_names(self, question: Question) -> Answer:
        """Postgres waits with each commit for the peer, the only one of `names`, or for nobody."""
        acts.sync_names(self.postgres(), replication.known_list(question["names"]))
        return {}

    def stop_workers(self, _: Question) -> Answer:
        """No worker, no timer and no backup runs here; `stopped` are those that did."""
        return {"stopped": acts.stop_workers()}

    def stop_apps(self, _: Question) -> Answer:
        """The apps with files are gone here."""
        acts.stop_apps()
        return {}

    def hold(self, _: Question) -> Answer:
        """New requests to apps with files wait, and the answers to older ones that go on."""
        holding.hold()
        if self.old:
            late.hold(self.old)
        return self.requests()

    def hold_answers(self, _: Question) -> Answer:
        """Requests that still run are answered once what they wrote was carried; how many."""
        return {"held": late.hold(holding.running())}

    def checkpoint(self, _: Question) -> Answer:
        """What was dirty at the start is on the disk."""
        self.postgres().query("CHECKPOINT", 600)
        return {}

    def pause(self, question: Question) -> Answer:
        """The pooler is at rest. After `seconds` it goes on and this fails, unless `disconnect`."""
        disconnect = bool(question.get("disconnect"))
        pooling.pause(self.console(), float(question["seconds"]), disconnect)
        return {}

    def stop_postgres(self, question: Question) -> Answer:
        """Postgres is down in order; the peer has all of it once it replayed past `lsn`."""
        acts.stop_postgres(float(question["seconds"]))
        self.postgres_ended()
        control = replication.controldata(acts.version())
        if control.state != "shut down":
            raise ProgramError(f"Postgres did not shut down as a primary does: {control.state}")
        return {"lsn": control.lsn, "timeline": control.timeline}

    def fence(self, question: Question) -> Answer:
        """This server writes no more in this epoch, also after a reboot: read back from the disk.

        Refused while Postgres runs. `boot` comes back as `asked_by`: it ties the answer to the boot
        of the server that asked.
        """
        database = state.server()["postgres"] is not None
        if database and acts.postmaster():
            raise ProgramError("Postgres still runs")
        record.fence(_epoch(question), acts.fit_files)
        role = record.load()
        lsn = ""
        if database:
            control = replication.controldata(acts.version())
            lsn = control.lsn
            if control.state != "shut down" or lsn != question["lsn"] or acts.postmaster():
                raise ProgramError(f"fenced, but Postgres is {control.state} at {lsn}")
        fenced = {"state": role.state, "epoch": role.epoch, "postmaster": False, "lsn": lsn}
        return {**fenced, "asked_by": question["boot"]}

    def point_pooler(self, question: Question) -> Answer:
        """Recorded: it follows, and can be restored no more in this epoch. Its pooler, still at
        rest, leads to the peer's Postgres."""
        record.follow(_epoch(question))
        if state.server()["postgres"]:
            pooling.write("peer")
            self.console().query("RELOAD")
        return {"role": record.status()}

    def resume(self, _: Question) -> Answer:
        """The pooler serves its clients."""
        if state.server()["postgres"]:
            pooling.resume(self.console())
        return {}

    def forward(self, _: Question) -> Answer:
        """Requests to apps with files, those that waited first, are answered by the peer's."""
        holding.forward()
        return {}

    def late(self, question: Question) -> Answer:
        """As soon as one of the held answers is `ready`, else after `seconds`; `running` as above.

        Asked again within `late.SECONDS`, or the answers go out.
        """
        ready = late.wait(float(question.get("seconds", WAIT)))
        return {"ready": [list(pair) for pair in ready], **self.requests()}

    def let_answer(self, question: Question) -> Answer:
        """What the requests of these `answers` wrote was carried: they go out."""
        late.let_go({(int(replica), int(caddy)) for replica, caddy in question["answers"]})
        return {}

    def follow(self, question: Question) -> Answer:
        """Postgres runs as the peer's standby: application_name `name`, the peer's slot `slot`."""
        for name in (question["name"], question["slot"]):
            replication.known(name)
        acts.follow()
        return {}

    def restore(self, question: Question) -> Answer:
        """This server is back at work, as its guard would have it at the deadline."""
        self.hang_up()
        guard.restore(_epoch(question))
        return {"role": record.status()}

    def drain(self, question: Question) -> Answer:
        """While `on`, Caddy asks clients to come back by a new connection; `over`: none do."""
        holding.drain(bool(question["on"]))
        if question.get("over"):
            acts.see_off()
        return {}


Verb = Callable[[Hand, Question], Answer]
Roles = tuple[State, ...]

ANY: Final[Roles | None] = None
"""Any epoch and role: it changes nothing, or the guard's own rules decide."""

BEFORE: Final[Roles] = ("serving", "restored", "armed")
ARMED: Final[Roles] = ("armed",)
WITHIN: Final[Roles] = ("serving", "restored", "armed", "fenced", "following")

VERBS: Final[Mapping[str, tuple[Verb, Roles | None]]] = {
    "hello": (Hand.hello, ANY),
    "status": (Hand.status, ANY),
    "give_up": (Hand.give_up, ANY),
    "replication": (Hand.standbys, ANY),
    "running": (Hand.running, ANY),
    "probe": (Hand.probe, ANY),
    "reach": (Hand.reach, ANY),
    "slot": (Hand.slot, BEFORE),
    "arm": (Hand.arm, ANY),
    "sync_names": (Hand.sync_names, ARMED),
    "stop_workers": (Hand.stop_workers, ARMED),
    "stop_apps": (Hand.stop_apps, ("armed", "following")),
    "hold": (Hand.hold, ARMED),
    "hold_answers": (Hand.hold_answers, ARMED),
    "checkpoint": (Hand.checkpoint, BEFORE),
    "pause": (Hand.pause, ARMED),
    "stop_postgres": (Hand.stop_postgres, ARMED),
    "fence": (Hand.fence, ANY),
    "point_pooler": (Hand.point_pooler, ANY),
    "resume": (Hand.resume, ("armed", "following")),
    "forward": (Hand.forward, ("following",)),
    "late": (Hand.late, ("following",)),
    "let_answer": (Hand.let_answer, ("following",)),
    "follow": (Hand.follow, ("following",)),
    "restore": (Hand.restore, ANY),
    "drain": (Hand.drain, WITHIN),
}
"""What there is, and for which roles: in the question's epoch, or `serving` before it."""


def _epoch(question: Question) -> int:
    epoch = question["epoch"]
    if type(epoch) is not int:
        raise ProgramError(f"no epoch: {epoch!r}")
    return epoch


def _since(start: float) -> float:
    return round((time.monotonic() - start) * 1000, 2)


def _role_or_none() -> Answer | None:
    with suppress(ProgramError, OSError):
        return record.status()
    return None


def main() -> None:
    """Serve a session, or send files."""
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if command:
        sending.become_rsync(command)
    hand = Hand()
    for line in sys.stdin:
        try:
            question = json.loads(line)
        except ValueError:
            question = {}
        if not isinstance(question, dict) or question.get("do") not in VERBS:
            answer: Answer = {"ok": False, "error": f"no such verb: {line.strip()[:200]}"}
        else:
            answer = hand.answer(question)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    state.run_program(main)
