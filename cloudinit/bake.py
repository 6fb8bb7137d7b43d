"""ImagePlan → `bake.yaml`, the only description of what goes into an image.

The real cloud-init executes it in every oven. The document brings its own lists of modules, so
that the configuration of a vendor's base image has no say in the bake. What may fail, fails:
every script runs under `set -e`, and a failing script, package or file is an error in
`cloud-init status --format json` (cloud-init's runparts and module runner).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloudinit import (
    access,
    apps,
    borg,
    caddy,
    data,
    docker,
    firewall,
    postgres,
    secrets,
    swap,
    system,
)
from cloudinit.accounts import account_numbers, accounts_script, system_accounts_script
from cloudinit.document import Value, dump
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.lock import STACK
from specs.packages import layers
from specs.plan import ImagePlan

SECTIONS: Final = (
    *(system, access, firewall, data, secrets),
    *(postgres, docker, apps, caddy, borg, swap),
)
"""In the order in which their commands run."""

MODULES: Final[dict[str, Value]] = {
    "cloud_init_modules": ["bootcmd", "users_groups"],
    "cloud_config_modules": ["runcmd"],
    "cloud_final_modules": [
        "package_update_upgrade_install",
        "write_files_deferred",
        "scripts_user",
    ],
}
"""What each stage of cloud-init runs; `runcmd` only writes the script that `scripts_user` runs."""

NO_SYSV: Final = "export SYSTEMCTL_SKIP_SYSV=1"
"""Units that also have a script in /etc/init.d were linked by their packages; systemd does not read
it, and asking for it again takes longer than all units together (systemd, ENVIRONMENT.md)."""

DEFAULT: Final = File("", "")
"""Owner and mode as cloud-init has them by itself (cc_write_files)."""


def bake(plan: ImagePlan) -> str:
    """The text of `bake.yaml`.

    Without a lock packages carry no version, for reading only. Raises ValueError when two sections
    write the same file.
    """
    parts = [(section.__name__.rpartition(".")[2], section.part(plan)) for section in SECTIONS]
    return dump(
        {
            **MODULES,
            "bootcmd": ["set -ex", accounts_script(plan), _apt(plan)],
            "users": _users(plan),
            "packages": _packages(plan),
            "write_files": [_file(file) for file in _files(parts)],
            "runcmd": ["set -ex", *_scripts(plan, parts)],
        }
    )


def before_packages(plan: ImagePlan) -> str:
    """Shell lines that an oven runs in a tree before it installs packages ahead of cloud-init.

    The same that `bake.yaml` runs itself before its packages, without the spec's users, so that a
    layer of packages does not depend on who logs in.
    """
    return system_accounts_script(plan) + _apt(plan)


def before_other_packages() -> str:
    """The same for a tree that is no server: the tools, a container image."""
    return render("bake/apt.sh.j2", repository=f"{layout.BAKE}/repo", postgres=False)


def after_packages() -> str:
    """Shell lines that take away what `before_packages` laid out for the bake only."""
    return render("bake/clean.sh.j2")


def _apt(plan: ImagePlan) -> str:
    return render(
        "bake/apt.sh.j2", repository=f"{layout.BAKE}/repo", postgres=plan.postgres is not None
    )


def _users(plan: ImagePlan) -> list[Value]:
    """People. Keys and sudo are files of `access`: cloud-init's own sudo file carries a date."""
    known = account_numbers(plan)
    return [
        {
            "name": user.name,
            "uid": known[user.name],
            "primary_group": user.name,
            **({"groups": list(user.groups)} if user.groups else {}),
            "shell": user.shell,
            "lock_passwd": True,
        }
        for user in plan.users
    ]


def _packages(plan: ImagePlan) -> list[Value]:
    if plan.lock:
        return [f"{package.name}={package.version}" for package in plan.lock.image_packages()]
    wanted = layers(plan)
    return [*sorted({name for layer in STACK for name in wanted[layer]})]


def _files(parts: Sequence[tuple[str, Part]]) -> list[File]:
    """Every file of every section, by path. Raises ValueError when two write the same one."""
    owners: dict[str, str] = {}
    for section, part in parts:
        for file in part.files:
            if file.path in owners:
                raise ValueError(f"{owners[file.path]} and {section} both write {file.path}")
            owners[file.path] = section
    return sorted((file for _, part in parts for file in part.files), key=lambda file: file.path)


def _file(file: File) -> dict[str, Value]:
    """A file for `write_files`, without what cloud-init takes anyway: it reads all of this a dozen
    times in one bake."""
    owner = {"owner": file.owner} if file.owner != DEFAULT.owner else {}
    mode = {"permissions": file.mode} if file.mode != DEFAULT.mode else {}
    return {"path": file.path, **owner, **mode, "defer": True, "content": file.content}


def _scripts(plan: ImagePlan, parts: Sequence[tuple[str, Part]]) -> list[str]:
    """The run commands: payloads, each section's own in a subshell, units, and the traces away."""
    scripts = []
    if plan.payloads:
        scripts.append(
            render("bake/payload.sh.j2", root=f"{layout.BAKE}/payload", payloads=plan.payloads)
        )
    for section, part in parts:
        if part.commands:
            lines = "\n".join(command.rstrip("\n") for command in part.commands)
            scripts.append(f"# {section}\n(\n{lines}\n)\n")
    scripts.append(NO_SYSV)
    for verb, units in (
        ("enable", sorted({unit for _, part in parts for unit in part.enable})),
        ("mask", sorted({unit for _, part in parts for unit in part.mask})),
    ):
        if units:
            scripts.append(f"systemctl {verb} {' '.join(units)}")
    scripts.append(after_packages())
    return scripts
