"""A private root for apt: it knows the spec's archives and keys, and nothing of this machine.

Only the way to the network (proxies, certificates, credentials of archives) is the machine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.archive.sources import Source
from images.run import CommandError, Result, run

HELPER: Final = "/usr/lib/apt/apt-helper"
RETRIES: Final = 2
FOLDERS: Final = (
    *(f"etc/apt/{name}" for name in ("keys", "apt.conf.d", "preferences.d", "sources.list.d")),
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg",
)
OPTIONS: Final = f"""\
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Cmd::Disable-Script-Warning "true";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Check-Date "true";
Acquire::Check-Valid-Until "true";
Acquire::ForceHash "SHA256";
Acquire::GzipIndexes "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "{RETRIES}";
Acquire::http::Timeout "30";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
"""


@dataclass(frozen=True, slots=True)
class Apt:
    """The root at `root`, made by `lay_out`."""

    root: Path

    @property
    def lists(self) -> Path:
        """Where the checked indexes lie."""
        return self.root / "var/lib/apt/lists"

    @property
    def preferences(self) -> Path:
        """What it prefers (apt_preferences(5))."""
        return self.root / "etc/apt/preferences"

    def run(self, argv: Sequence[str], *, check: bool = True) -> Result:
        """Run one of apt's programs in this root. Raises CommandError."""
        return run(argv, env={"APT_CONFIG": str(self.root / "apt.conf")}, check=check)


def lay_out(root: Path, architecture: str, sources: Iterable[Source] = ()) -> Apt:
    """Make the folder `root` an apt root that trusts each source by its own key alone."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    lines = []
    for number, source in enumerate(sources):
        keyring = root / f"etc/apt/keys/{number}-{source.name}.gpg"
        keyring.write_bytes(source.key)
        lines.append(source.line(keyring))
    (root / "etc/apt/sources.list").write_text("\n".join([*lines, ""]), encoding="utf-8")
    dirs = f'Dir "{root}";\nDir::State::status "{root}/var/lib/dpkg/status";\n'
    arch = f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
    (root / "apt.conf").write_text(dirs + arch + OPTIONS + _machine(), encoding="utf-8")
    return Apt(root)


def _machine() -> str:
    """This machine's proxies and certificates, as apt's configuration has them."""
    dump = ["apt-config", "dump", "--no-empty", "--format", '%f "%v";%n']
    try:
        lines = run(dump).stdout.splitlines()
    except CommandError:
        return ""
    ways = ("Acquire::http::Proxy", "Acquire::https::", "Acquire::Proxy")
    return "".join(f"{line}\n" for line in lines if line.startswith(ways))
