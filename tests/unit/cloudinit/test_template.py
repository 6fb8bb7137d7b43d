"""Templates forgive nothing."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from cloudinit.template import render


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'rules' is undefined"):
        render("firewall/firewall.service.j2")
