#!/usr/bin/python3
"""This server's SSH host key, from its first boot on, and the certificate that a CA gives it.

host_keys.py first     before sshd starts: the throwaway key of the user data, else one of our own
host_keys.py own       prints the public key that is to be signed, never the throwaway, and the
                       certificate in force
host_keys.py install   puts the certificate from standard input in force, with the key that it is of

Each may be run again after a kill anywhere. A private key that was made here never leaves.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from . import state

SSH: Final = Path("/etc/ssh")
KEY: Final = SSH / "ssh_host_ed25519_key"
FIRST: Final = state.RUN / "first_host_key"
"""Written by cloud-init from the user data, into memory."""

THROWAWAY: Final = SSH / "ssh_host_ed25519_key.throwaway"
"""There while `KEY` is the one of the user data, which others have seen."""

NEXT: Final = SSH / "ssh_host_ed25519_key.next"
INCLUDED: Final = SSH / "bakehouse-host.conf"
"""What sshd includes when it is there: it would tell a missing certificate as an error."""


def public(key: Path) -> Path:
    """The file of a key's public half."""
    return key.with_name(f"{key.name}.pub")


def certificate() -> Path:
    """The file of the certificate."""
    return KEY.with_name(f"{KEY.name}-cert.pub")


def first() -> None:
    """A host key, when there is none. A damaged throwaway must not leave us without any."""
    if KEY.exists():
        return
    if FIRST.exists():
        done = keygen("-y", "-P", "", "-f", str(FIRST))
        if done.returncode == 0:
            state.write(THROWAWAY, "")
            state.write(public(KEY), done.stdout, 0o644)
            state.write(KEY, FIRST.read_text())
            return
        why = " ".join(done.stderr.split())
        print(f"<4>the host key in the user data is damaged: {why}")
    make(KEY)


def make(key: Path) -> None:
    """A new pair; the private half appears last, and with it the pair counts as made."""
    draft = key.with_name(f"{key.name}.draft")
    for path in (draft, public(draft)):
        path.unlink(missing_ok=True)
    done = keygen("-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(draft))
    if done.returncode != 0:
        raise state.ProgramError(f"cannot make a host key: {done.stderr.strip()}")
    public(draft).chmod(0o644)  # whatever the umask of whoever asked
    public(draft).rename(public(key))
    draft.rename(key)
    state.sync_folder(SSH)


def keygen(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ssh-keygen."""
    command = ["ssh-keygen", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def own() -> str:
    """The public key to be signed: of the key in force, or of the one that will replace it."""
    if not THROWAWAY.exists():
        return public(KEY).read_text().strip()
    if not NEXT.exists():
        make(NEXT)
    return public(NEXT).read_text().strip()


def install(text: str) -> None:
    """Put a certificate in force. Raises ProgramError when it is of neither of our keys.

    The throwaway goes first: a kill in between leaves a key of our own without a certificate.
    """
    draft = SSH / ".bakehouse-certificate"
    state.write(draft, text if text.endswith("\n") else f"{text}\n", 0o644)
    try:
        wanted = fingerprint(draft)
        if NEXT.exists() and fingerprint(public(NEXT)) == wanted:
            replace()
        if THROWAWAY.exists() or fingerprint(public(KEY)) != wanted:
            raise state.ProgramError("the certificate is not of this server's own host key")
        draft.rename(certificate())
    finally:
        draft.unlink(missing_ok=True)
    state.write(INCLUDED, f"HostCertificate {certificate()}\n", 0o644)
    state.sync_folder(SSH)
    subprocess.run(["systemctl", "reload", "ssh.service"], check=True)


def replace() -> None:
    """The next key becomes the key."""
    certificate().unlink(missing_ok=True)
    NEXT.rename(KEY)
    public(NEXT).rename(public(KEY))
    THROWAWAY.unlink(missing_ok=True)
    state.sync_folder(SSH)


def fingerprint(path: Path) -> str:
    """SHA256 of the key in a public key or certificate file: the same for both."""
    done = keygen("-l", "-E", "sha256", "-f", str(path))
    if done.returncode != 0:
        raise state.ProgramError(f"{path.name}: {done.stderr.strip() or 'no key'}")
    return done.stdout.split()[1]


def main() -> None:
    """Do what the command line says."""
    verb = sys.argv[1] if len(sys.argv) == 2 else ""
    if verb == "first":
        first()
    elif verb == "own":
        known = certificate().read_text() if certificate().exists() else ""
        print(json.dumps({"public": own(), "certificate": known}))
    elif verb == "install":
        install(sys.stdin.read())
        print("{}")
    else:
        raise state.ProgramError("usage: host_keys first | own | install")


if __name__ == "__main__":
    state.run_program(main)
