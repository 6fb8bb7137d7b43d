"""Hetzner's rescue system: a server boots something else once, and its own disk is a device there.

Elsewhere a server of the emulator has no disk of its own, only files above those of its image. In
the rescue system it has one, empty; what is written there is what its snapshot holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.emulators.hetzner_things import Thing
from tests.emulators.served import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.emulators.hetzner import Hetzner

SYSTEM: Final = "rescue"
"""How the rescue system is called among the machines' images."""


class Rescue:
    """For servers that are told so, at their next reset."""

    def __init__(self, api: Hetzner) -> None:
        self.api = api
        self.there = False
        api.route("POST", "/servers/{id}/actions/enable_rescue", self._enable)
        api.route("POST", "/servers/{id}/actions/disable_rescue", self._disable)

    def offer(self, tree: Path) -> None:
        """The files of the rescue system: SSH, zstd, dd and the like."""
        self.api.machines.add_image(SYSTEM, tree)
        self.there = True

    def wanted(self, thing: Thing) -> bool:
        """Whether the next boot is one into the rescue system."""
        return bool(thing.shown["rescue_enabled"])

    def boot(self, thing: Thing) -> None:
        """Boot it there, which is for once."""
        machine = thing.hidden["machine"]
        self.api.machines.rescue(machine, SYSTEM, thing.hidden["rescue_keys"])
        thing.shown["rescue_enabled"] = False

    def _enable(self, request: Request) -> Answer:
        thing = self.api.servers.kind.get(request.number())
        self.api.free(thing)
        if not self.there:
            raise Refusal(422, "unsupported_error", "this emulator has no rescue system")
        body = request.body or {}
        keys = [self.api.keys.get(number) for number in body.get("ssh_keys") or ()]
        thing.hidden["rescue_keys"] = [key.shown["public_key"] for key in keys]
        return self._told(thing, "enable_rescue", True)

    def _disable(self, request: Request) -> Answer:
        thing = self.api.servers.kind.get(request.number())
        self.api.free(thing)
        return self._told(thing, "disable_rescue", False)

    def _told(self, thing: Thing, command: str, enabled: bool) -> Answer:
        thing.shown["rescue_enabled"] = enabled
        about = [{"type": "server", "id": thing.id}]
        action = self.api.actions.begin(command, about, on=id(thing))
        told = {"action": self.api.shown(action)}
        return Answer(201, {**told, "root_password": "emulated"} if enabled else told)
