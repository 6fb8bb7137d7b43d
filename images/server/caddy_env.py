#!/usr/bin/python3
"""Writes the role's part of Caddy's configuration as an environment file, at each start and reload.

Only the primary asks a certificate authority: a throwaway copy or a standby would fail its
challenges, since the name leads elsewhere, and use up the limits of the real one.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

BOOT_JSON = Path("/etc/bakehouse/boot.json")


def environment(role: str, generation: int) -> str:
    """The file's text."""
    ours = "" if role == "primary" else "local_certs"
    return f"BAKEHOUSE_CADDY_GLOBAL={ours}\nBAKEHOUSE_GENERATION={generation}\n"


def main() -> int:
    """Read boot.json (without one the server is taken for a throwaway) and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--boot", type=Path, default=BOOT_JSON)
    options = parser.parse_args()
    boot: dict[str, Any] = {"role": "throwaway", "generation": 0}
    if options.boot.exists():
        boot = json.loads(options.boot.read_bytes())
    temporary = options.out.with_suffix(".new")
    temporary.write_text(environment(boot["role"], boot["generation"]))
    temporary.rename(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
