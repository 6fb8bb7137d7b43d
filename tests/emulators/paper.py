"""Servers of an emulator that are only written down: for tests of what is said, not what runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from images.network import Address
from images.providers.base import Status


@dataclass(slots=True)
class Paper:
    """Does at once what `tests.emulators.machines.Machines` does for real."""

    on: dict[str, bool] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def create(
        self,
        name: str,
        image: str,
        user_data: str,
        *,
        keys: Sequence[str] = (),
        further: Sequence[str] = (),
        metadata: str = "",
    ) -> str:
        """A server that is on."""
        self.made.append(name)
        server = f"s{len(self.made)}"
        self.on[server] = True
        return server

    def status(self, server: str) -> Status:
        """Whether it is on."""
        return "running" if self.on.get(server) else "off"

    def address(self, server: str) -> Address:
        """Where it would be."""
        return Address(int(server[1:]))

    def power_on(self, server: str) -> None:
        """It is on."""
        self.on[server] = True

    def power_off(self, server: str) -> None:
        """It is off."""
        self.on[server] = False

    reset = reboot = power_on
    shutdown = power_off

    def await_off(self, server: str) -> bool:
        """It goes off at once."""
        return not self.on[server]

    def delete(self, server: str) -> None:
        """It is gone, and its volumes are free."""
        del self.on[server]
        self.volumes = {name: "" if at == server else at for name, at in self.volumes.items()}

    def snapshot(self, server: str, key: str) -> int:
        """An image of a gibibyte."""
        return 1 << 30

    def delete_image(self, key: str) -> None:
        """Nothing was kept of it."""

    def floating(self, name: str) -> tuple[str, str]:
        """An address pair."""
        self.addresses.setdefault(name, "")
        number = [*self.addresses].index(name) + 1
        return f"203.0.113.{number}", f"2001:db8:f10a:{number:x}::1"

    def assign(self, name: str, server: str) -> None:
        """Lead it there."""
        self.addresses[name] = server

    def create_volume(self, name: str, size: int) -> None:
        """A volume that nobody has."""
        self.volumes[name] = ""

    def attach(self, name: str, server: str) -> str:
        """Give it to a server."""
        self.volumes[name] = server
        return f"/dev/disk/by-id/bakehouse-{name}"

    def detach(self, name: str) -> None:
        """Take it away."""
        self.volumes[name] = ""

    def delete_volume(self, name: str) -> None:
        """It is gone."""
        del self.volumes[name]
