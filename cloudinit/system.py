"""The operating system itself: time, language, kernel settings, journal, network and first boot.

`docs/hardening.md` gives the reasons, and what an audit still suggests.
"""

from __future__ import annotations

from typing import Final

from cloudinit.facts import server_json
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.plan import ImagePlan

SYSCTL: Final = {
    "dev.tty.ldisc_autoload": "0",
    "fs.protected_fifos": "2",
    "fs.protected_hardlinks": "1",
    "fs.protected_regular": "2",
    "fs.protected_symlinks": "1",
    "fs.suid_dumpable": "0",
    "kernel.core_pattern": "|/bin/false",
    "kernel.core_uses_pid": "1",
    "kernel.dmesg_restrict": "1",
    "kernel.kexec_load_disabled": "1",
    "kernel.kptr_restrict": "2",
    "kernel.panic": "10",
    "kernel.perf_event_paranoid": "3",
    "kernel.randomize_va_space": "2",
    "kernel.sysrq": "0",
    "kernel.unprivileged_bpf_disabled": "1",
    "kernel.yama.ptrace_scope": "1",
    "net.core.bpf_jit_harden": "2",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.all.accept_source_route": "0",
    "net.ipv4.conf.all.log_martians": "1",
    "net.ipv4.conf.all.rp_filter": "2",
    "net.ipv4.conf.all.secure_redirects": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.accept_redirects": "0",
    "net.ipv4.conf.default.accept_source_route": "0",
    "net.ipv4.conf.default.log_martians": "1",
    "net.ipv4.conf.default.rp_filter": "2",
    "net.ipv4.conf.default.secure_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.icmp_ignore_bogus_error_responses": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.all.accept_source_route": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
    "net.ipv6.conf.default.accept_source_route": "0",
    "vm.unprivileged_userfaultfd": "0",
}
"""From the Kernel Self-Protection Project's recommended settings and Lynis' profile. `rp_filter` is
loose: a swap of servers sends packets of one connection over two links. After a panic the kernel
boots again in so many seconds; by itself it would stand still for ever. `tcp_rfc1337` is left off:
with it a reset does not end what the kernel remembers of a closed connection, and a new one by the
same ports was refused for as long (seen between Caddy and a forwarded port: six attempts in 5 s,
each answered by an acknowledgement of the old one and reset)."""

LOGIN_DEFS: Final = {
    "PASS_MAX_DAYS": "365",
    "PASS_MIN_DAYS": "1",
    "SHA_CRYPT_MIN_ROUNDS": "65536",
    "UMASK": "027",
}
"""For accounts that somebody makes on a server; the spec's own are older and have no password."""

MODULES: Final = (
    "cramfs",
    "dccp",
    "firewire-core",
    "firewire-ohci",
    "freevxfs",
    "hfs",
    "hfsplus",
    "jffs2",
    "rds",
    "sctp",
    "squashfs",
    "tipc",
    "udf",
    "usb-storage",
)
"""Never loaded: what the CIS Debian benchmark names, without what a cloud's own disks may need."""

_NETWORK: Final = (
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
)
_OURS: Final = (
    "bakehouse-floating.service",
    "bakehouse-keep-network.service",
    "bakehouse-mounts.service",
)
_MASKED: Final = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "ctrl-alt-del.target",
    "debug-shell.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
)
"""A new image is the upgrade, and nothing on a server calls dpkg; e2scrub wants LVM."""


def part(plan: ImagePlan) -> Part:
    """Files and commands of the base system, and the facts for our own programs."""
    return Part(
        files=(
            _file("/etc/cloud/cloud.cfg.d/90-bakehouse.cfg", "cloud.cfg"),
            _file("/etc/issue", "issue"),
            _file("/etc/issue.net", "issue"),
            _file("/etc/modprobe.d/bakehouse.conf", "modprobe.conf", modules=MODULES),
            _file("/etc/systemd/coredump.conf.d/10-bakehouse.conf", "coredump.conf"),
            _file("/etc/systemd/journald.conf.d/10-bakehouse.conf", "journald.conf"),
            _file("/etc/systemd/network/90-bakehouse-fallback.network", "fallback.network"),
            _file("/etc/systemd/networkd.conf.d/10-bakehouse.conf", "networkd.conf"),
            _file("/etc/systemd/system.conf.d/10-bakehouse.conf", "manager.conf"),
            _file("/etc/systemd/resolved.conf.d/10-bakehouse.conf", "resolved.conf"),
            _file("/etc/systemd/system/bakehouse-mounts.service", "mounts.service"),
            _file(
                "/etc/systemd/system/bakehouse-floating.service",
                "floating.service",
                file=layout.FLOATING,
            ),
            _file("/etc/systemd/system/bakehouse-keep-network.service", "keep-network.service"),
            _file("/usr/share/bakehouse/network-kept.cfg", "network-kept.cfg"),
            _file("/etc/sysctl.d/90-bakehouse.conf", "sysctl.conf", settings=_sysctl(plan)),
            File("/etc/hostname", f"{plan.system.hostname or plan.name}\n"),
            File("/etc/locale.conf", f"LANG={plan.system.locale}\n"),
            File("/etc/profile.d/bakehouse.sh", render("system/profile.sh.j2")),
            File("/etc/security/limits.d/90-bakehouse.conf", "* - core 0\nroot - core 0\n"),
            File(layout.SERVER_JSON, server_json(plan)),
        ),
        commands=tuple(_commands(plan)),
        enable=(*_NETWORK, *_OURS),
        mask=_MASKED,
    )


def _file(path: str, template: str, **values: object) -> File:
    return File(path, render(f"system/{template}.j2", **values))


def _sysctl(plan: ImagePlan) -> dict[str, str]:
    """Ours, with the spec's own above them, sorted."""
    return dict(sorted({**SYSCTL, **plan.system.sysctl}.items()))


def _login_defs() -> list[str]:
    names = "|".join(LOGIN_DEFS)
    lines = "\\n".join(f"{name} {value}" for name, value in LOGIN_DEFS.items())
    return [
        f"sed -i -E '/^({names})[[:space:]]/d' /etc/login.defs",
        f"printf '{lines}\\n' >>/etc/login.defs",
    ]


def _commands(plan: ImagePlan) -> list[str]:
    zone = f"/usr/share/zoneinfo/{plan.system.timezone}"
    commands = [
        f"test -f {zone}",
        f"ln -sf {zone} /etc/localtime",
        "ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
        *_login_defs(),
        "chmod 0700 /root",
        "for path in /etc/crontab /etc/cron.*; do",
        '  if [ -e "$path" ]; then chmod go= "$path"; fi',
        "done",
    ]
    if plan.system.locale != "C.UTF-8":
        commands += [f"echo '{plan.system.locale} UTF-8' >/etc/locale.gen", "locale-gen"]
    return commands
