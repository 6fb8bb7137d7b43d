"""What a container and a virtual machine have in common: both are ours, and SSH is the way in."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from images import ssh
from images.network import Address
from images.run import Process, Result
from specs.errors import BakehouseError


@dataclass(slots=True)
class Guest(ABC):
    """A machine that we switch on: its files, among them its SSH configuration, are in `folder`.

    `patience` is how many seconds it may take from being switched on to letting us in.
    """

    folder: Path
    door: ssh.Door
    patience: float
    process: Process | None = field(default=None, kw_only=True)

    kind: ClassVar[str]
    limit: ClassVar[float]
    """Seconds that a command may take there, when its caller names no other limit."""
    attempt: ClassVar[float]
    """Seconds that one attempt to log in may take."""
    pause: ClassVar[float]
    """Seconds from one attempt to the next."""

    @property
    @abstractmethod
    def address(self) -> Address:
        """Where it is found from the client's side."""

    @property
    def console(self) -> Path:
        """What it wrote to its console."""
        return self.folder / "console.log"

    @property
    def ssh_config(self) -> Path:
        """An SSH configuration in which it is called `machine`, usable behind `door.prefix`."""
        return self.door.config

    def alive(self) -> bool:
        """Whether it is switched on."""
        return self.process is not None and self.process.alive()

    def run(
        self,
        words: str | Sequence[str],
        *,
        timeout: float | None = None,
        check: bool = True,
        stdin: str | None = None,
    ) -> Result:
        """Run a shell line, or words, there as root: `ssh.as_root` with this machine's limit."""
        limit = self.limit if timeout is None else timeout
        return ssh.as_root(self.door, words, timeout=limit, check=check, stdin=stdin)

    def wait(self) -> None:
        """Wait until SSH lets us in. Raises BakehouseError, with the console's end, when not."""
        deadline = time.monotonic() + self.patience
        while not self._reached():
            self.check_alive(deadline)
            time.sleep(self.pause)

    def check_alive(self, deadline: float) -> None:
        """Raises BakehouseError when the machine has ended, or the deadline has passed."""
        if not self.alive():
            raise BakehouseError(f"the {self.kind} ended while it booted\n{self.tail()}")
        if time.monotonic() > deadline:
            why = f"does not let us in by SSH after {self.patience:g} s"
            raise BakehouseError(f"the {self.kind} {why}\n{self.tail()}")

    def _reached(self) -> bool:
        """Trust the host key that it has now, and no other, and log in."""
        public = self.host_key()
        if not public:
            return False
        (self.folder / "known_hosts").write_text(ssh.known_host(public), encoding="utf-8")
        return ssh.attempt(self.door, "true", timeout=self.attempt).code == 0

    @abstractmethod
    def host_key(self) -> str:
        """Its public host key, from where nobody else can put one; "" while it has none."""

    def tail(self) -> str:
        """The last lines of its console."""
        if not self.console.exists():
            return ""
        text = self.console.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-30:])
