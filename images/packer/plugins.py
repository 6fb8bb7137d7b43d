"""The plugins that Packer from 1.7 on fetches, at the versions that our options are checked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin of Packer by the name that `required_plugins` gives it."""

    name: str
    source: str
    version: str


PLUGINS: Final = (
    Plugin("digitalocean", "github.com/digitalocean/digitalocean", "1.4.1"),
    Plugin("hcloud", "github.com/hetznercloud/hcloud", "1.7.2"),
    Plugin("qemu", "github.com/hashicorp/qemu", "1.1.4"),
)
"""docs/packer.md lists the options. Exact versions: a newer plugin comes with a newer Bakehouse, as
every Python dependency does."""


def required_plugins() -> str:
    """The text of `plugins.pkr.hcl`, which Packer 1.6.6 does not understand."""
    blocks = "".join(
        f'    {plugin.name} = {{\n      source  = "{plugin.source}"\n'
        f'      version = "= {plugin.version}"\n    }}\n'
        for plugin in PLUGINS
    )
    return f"packer {{\n  required_plugins {{\n{blocks}  }}\n}}\n"
