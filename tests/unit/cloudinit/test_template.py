"""Templates forgive nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from cloudinit.template import environment, render


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'rules' is undefined"):
        render("firewall/firewall.service.j2")


def test_templates_are_compiled_also_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("no folder")
    (tmp_path / "a.j2").write_text("{{ a }}")
    assert environment(tmp_path).get_template("a.j2").render(a=1) == "1"


def test_a_changed_template_is_compiled_again(tmp_path: Path) -> None:
    for text in ("one", "two", "two"):
        (tmp_path / "a.j2").write_text(text)
        environment.cache_clear()
        assert environment(tmp_path).get_template("a.j2").render() == text
    assert len(list((tmp_path / "__pycache__").iterdir())) == 1
