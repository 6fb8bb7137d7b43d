"""The CA that signs the SSH host keys of one spec's servers.

Whoever trusts it by one `@cert-authority` line meets no unknown host key after a swap. What is
revoked stands in `<spec>.revoked` beside the spec, for review: a key id in each line, which is the
name of a server (ssh-keygen(1), "Key revocation lists").
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.home import Home, write_whole
from images.providers.base import FloatingIp, Server
from images.run import run
from images.secrets import keys
from images.secrets.memory import MEMORY
from images.secrets.vault import CA_KEY, Vault, open_vault, seal_vault, secrets_path
from specs.errors import UsageError, printable
from specs.model import Spec

VALIDITY: Final = 90 * 86_400
"""Seconds that a certificate is good for; each promote and `invoke host-keys --renew` renew it, and
a scheduled run when half of it is over."""

BEFORE: Final = 300
"""Seconds by which a client's clock may be behind."""

BRING: Final = (
    "bring the secrets file that has it, or `ca/` of the home that deployed the servers "
    '(docs/promote.md, "Another machine")'
)
"""What to do where a CA is missing."""

NOTE: Final = (
    "\n# Signs the host keys of this spec's servers. Whoever loses it must trust a new one.\n"
)


@dataclass(frozen=True, slots=True)
class HostCa:
    """`private` is the key's text and never shown; `public` the line of its .pub file."""

    private: str
    public: str


def open_ca(spec: Spec, spec_file: Path, home: Home, note: Callable[[str], None]) -> HostCa:
    """The spec's CA: from its secrets file when there is one, else from `<home>/ca/<spec>/`.

    Made at the first call. One that was made before there was a secrets file moves into it, so that
    colleagues have it, too. `note` is told what must be kept from now on. Raises UsageError when
    the secrets file cannot be opened.
    """
    path, kept = secrets_path(spec_file), _kept(spec, home)
    vault = open_vault(path) if path.exists() else None
    found = _found(spec, vault, kept)
    if found and (vault is None or CA_KEY in vault.values):
        return found
    if vault is None:
        note(f"made the CA that signs host keys, {kept}: keep a copy, or make {path} and commit it")
        return _made(kept, spec)
    ca = found or make_ca(spec)
    block = "".join(f"  {line}\n" for line in ca.private.splitlines())
    seal_vault(path, f"{vault.text.rstrip()}\n{NOTE}{CA_KEY}: |\n{block}", keys.recipients(spec))
    kept.unlink(missing_ok=True)
    note(f"the CA that signs host keys is in {path} from now on: commit that")
    return ca


def find_ca(spec: Spec, spec_file: Path, home: Home) -> HostCa | None:
    """The spec's CA where this machine has it. Raises UsageError when the secrets file cannot be
    opened."""
    path = secrets_path(spec_file)
    return _found(spec, open_vault(path) if path.exists() else None, _kept(spec, home))


def _found(spec: Spec, vault: Vault | None, kept: Path) -> HostCa | None:
    if vault and CA_KEY in vault.values:
        private = vault.values[CA_KEY].rstrip("\n") + "\n"
        return HostCa(private, public_half(private, comment(spec)))
    return _known(kept) if kept.exists() else None


def _kept(spec: Spec, home: Home) -> Path:
    """Where the CA is as long as there is no secrets file."""
    return home.root / "ca" / spec.name / "key"


def comment(spec: Spec) -> str:
    """The CA's name at the end of its public key."""
    return f"{spec.name}-host-ca"


def make_ca(spec: Spec) -> HostCa:
    """A new pair, on no disk."""
    return HostCa(*make_pair(comment(spec)))


def make_pair(comment: str) -> tuple[str, str]:
    """A new ed25519 key: the private text, and the public line. It is only ever in memory."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        key = Path(folder, "key")
        run(keygen_command(key, comment))
        public = key.with_suffix(".pub").read_text(encoding="utf-8").strip()
        return key.read_text(encoding="utf-8"), public


def keygen_command(key: Path, comment: str) -> list[str]:
    """A new ed25519 pair without passphrase."""
    return ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)]


def _made(kept: Path, spec: Spec) -> HostCa:
    """A new pair, kept on this machine; it appears whole, and of two makers one wins."""
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = make_ca(spec)
    handle, name = tempfile.mkstemp(dir=kept.parent)
    draft = Path(name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(ca.private)
        file.flush()
        os.fsync(handle)
    write_whole(kept.with_suffix(".pub"), f"{ca.public}\n")
    try:
        os.link(draft, kept)
    except FileExistsError:
        return _known(kept)
    finally:
        draft.unlink()
    return ca


def _known(key: Path) -> HostCa:
    private = key.read_text(encoding="utf-8")
    return HostCa(private, public_half(private, ""))


def public_half(private: str, note: str) -> str:
    """The public line of a private key, with `note` as its comment unless the key has its own."""
    line = run(["ssh-keygen", "-y", "-f", "/dev/stdin"], stdin=private).stdout.strip()
    return line if len(line.split()) > 2 or not note else f"{line} {note}"


def principals(spec: Spec, server: Server, floating: FloatingIp | None) -> tuple[str, ...]:
    """The names by which this server is called: its own, its addresses, the IP's, its sites'."""
    own = (server.name, server.address, server.address6, server.private)
    shared = (floating.v4, floating.v6) if floating else ()
    return tuple(dict.fromkeys(name for name in (*own, *shared, *names(spec)) if name))


def names(spec: Spec) -> tuple[str, ...]:
    """The host names that whichever server is active goes by."""
    found = [spec.system.hostname] if "." in spec.system.hostname else []
    for site in spec.caddy.sites if spec.caddy else ():
        for address in (site.address, *site.aliases):
            host = address.removeprefix("http://")
            if not host.startswith(":"):
                found.append(host)
    return tuple(dict.fromkeys(found))


def sign_host_key(
    ca: HostCa, public: str, name: str, names: Sequence[str], *, serial: int, validity: int
) -> str:
    """The certificate, as a line, of the host key `public` for `names`.

    `name` is the key id by which it can be revoked: the server's, which no other server may have.
    `validity` is seconds from now. The CA's key goes to ssh-keygen by standard input alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder, "host.pub")
        key.write_text(f"{public.strip()}\n", encoding="utf-8")
        run(sign_command(key, name, names, serial, validity), stdin=ca.private)
        return Path(folder, "host-cert.pub").read_text(encoding="utf-8").strip()


def sign_command(
    key: Path, name: str, names: Sequence[str], serial: int, validity: int
) -> list[str]:
    """`ssh-keygen` as a CA for hosts, its own key on standard input."""
    return [
        *("ssh-keygen", "-q", "-s", "/dev/stdin", "-h", "-I", name, "-n", ",".join(names)),
        *("-z", str(serial), "-V", f"-{BEFORE}s:{validity:+d}s", str(key)),
    ]


def known_hosts_line(ca: HostCa, names: Sequence[str], port: int = 22) -> str:
    """The one line for known_hosts by which a client trusts all servers of the spec.

    `names` are the hosts for which the CA is believed: patterns as sshd(8) has them.
    """
    hosts = [name if port == 22 else f"[{name}]:{port}" for name in names]
    return f"@cert-authority {','.join(hosts)} {ca.public}"


def client_names(spec: Spec, floating: FloatingIp | None, servers: Sequence[Server]) -> list[str]:
    """What clients of the spec call its servers: the IP, the sites, and each server by its name
    (also one to come) and its addresses (only those that are there)."""
    found = [f"{spec.name}-g*", *names(spec)]
    for address in (floating.v4, floating.v6) if floating else ():
        found.append(address)
    for server in servers:
        found += [server.address, server.address6, server.private]
    return list(dict.fromkeys(name for name in found if name))


def revoked_path(spec_file: Path) -> Path:
    """`specs/hobby.yaml` has what is revoked at `specs/hobby.revoked`."""
    return spec_file.with_suffix(".revoked")


def revoke(spec_file: Path, name: str) -> bool:
    """No client that has the list trusts what the CA signed for this server; False: it was so.

    Raises UsageError for what no server is called.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UsageError(f"{printable(name)}: no name of a server", "`invoke host-keys` lists them")
    path = revoked_path(spec_file)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    line = f"id: {name}"
    if line in text.splitlines():
        return False
    write_whole(path, f"{text}{line}\n")
    return True


def revocation_list(ca: HostCa, spec_file: Path, to: Path) -> Path | None:
    """The list in the form of ssh's `RevokedHostKeys`, written to `to`; None when there is none.

    An ssh that is told of a list which is not there trusts no server at all.
    """
    path = revoked_path(spec_file)
    if not path.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        public, draft = Path(folder, "ca.pub"), Path(folder, "krl")
        public.write_text(f"{ca.public}\n", encoding="utf-8")
        run(["ssh-keygen", "-q", "-k", "-f", str(draft), "-s", str(public), str(path)])
        to.parent.mkdir(parents=True, exist_ok=True)
        new = to.with_name(f".{to.name}.{os.getpid()}")
        new.write_bytes(draft.read_bytes())
        new.replace(to)
    return to
