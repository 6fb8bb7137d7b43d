"""Types that the suite's modules share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Expected = dict[str, Any]
"""What `images/expectations.py` says, or a part of it."""

Shell = Callable[..., str]
"""The fixture `sh`: runs a line, with further words quoted after it, and returns its output."""
