"""Checking documents: every fault at once. The release's real schema is used in integration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudinit.validate import check, problems
from specs.errors import BakehouseError

SCHEMA = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "properties": {"hostname": {"type": "string"}, "runcmd": {"type": "array"}},
    "additionalProperties": False,
}


def test_every_problem_is_named(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    with pytest.raises(BakehouseError) as caught:
        check("#cloud-config\nhostname: 3\nruncmd: no\nrun_cmd: []\n", schema, "bake.yaml")
    text = str(caught.value)
    assert "bake.yaml is not valid" in text
    assert "hostname: 3 is not of type 'string'" in text
    assert "runcmd: False is not of type 'array'" in text
    assert "'run_cmd' was unexpected" in text


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("hostname: a\n", "the first line is not '#cloud-config'"),
        ("#cloud-config\na: [", "not YAML"),
    ],
)
def test_what_is_no_user_data_is_said(document: str, problem: str) -> None:
    assert problems(document, SCHEMA)[0].startswith(problem)


def test_a_valid_document_passes() -> None:
    assert problems("#cloud-config\nhostname: a\n", SCHEMA) == ()
