"""Who may log in and how: people's keys, sudo, and an SSH server with only strong choices."""

from __future__ import annotations

from typing import Final

from cloudinit.part import File, Part
from cloudinit.template import render
from specs.packages import PEER_ACCOUNT
from specs.plan import ImagePlan

KEYS: Final = "/etc/ssh/authorized_keys.d"

_KEX: Final = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
)
_KEX_COMPAT: Final = ("curve25519-sha256", "curve25519-sha256@libssh.org")
"""What clients without post-quantum exchanges speak: OpenSSH from 6.5, libssh, Go, Paramiko."""

_ED25519: Final = (
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "ssh-ed25519",
)
_RSA: Final = (
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def part(plan: ImagePlan) -> Part:
    """Files for sshd, keys and sudo, and the unit that makes a host key.

    sshd reads them at its next start: a bake never reloads the server that it may run through.
    """
    files = [
        File("/etc/ssh/sshd_config.d/10-bakehouse.conf", _sshd(plan), mode="0600"),
        File("/etc/systemd/system/bakehouse-hostkey.service", render("access/hostkey.service.j2")),
    ]
    files += [
        File(f"{KEYS}/{user.name}", "".join(f"{key}\n" for key in user.authorized_keys))
        for user in plan.users
        if user.authorized_keys
    ]
    sudoers = [user.name for user in plan.users if user.sudo]
    commands = [f"mkdir -p {KEYS}", "chmod 0600 /etc/ssh/sshd_config", "chmod 0750 /etc/sudoers.d"]
    if sudoers:
        rules = "".join(f"{name} ALL=(ALL:ALL) NOPASSWD: ALL\n" for name in sudoers)
        files.append(File("/etc/sudoers.d/bakehouse", rules, mode="0440"))
        commands.append("visudo --check --quiet")
    return Part(
        files=tuple(files),
        commands=tuple(commands),
        enable=("bakehouse-hostkey.service", "ssh.service"),
        mask=("sshd-keygen.service", "ssh.socket"),
    )


def _sshd(plan: ImagePlan) -> str:
    admins = [user.name for user in plan.users if user.sudo] or ["root"]
    peer = [PEER_ACCOUNT] if plan.data.strategy == "replica" else []
    kex = _KEX + (_KEX_COMPAT if plan.ssh.kex == "compat" else ())
    return render(
        "access/sshd.conf.j2",
        port=plan.ssh.port,
        kex=kex,
        host_key_algorithms=_ED25519,
        user_key_algorithms=_ED25519 + _RSA,
        signature_algorithms=("sk-ssh-ed25519@openssh.com", "ssh-ed25519"),
        admin=admins[0],
        admins=admins,
        allowed=sorted({*admins, *(user.name for user in plan.users), *peer}),
    )
