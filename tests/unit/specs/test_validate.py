"""Specs built from plain text: what golden cases do not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs.build import WIDE_SUBNET
from specs.errors import SpecError
from specs.load import parse
from specs.merge import Source, merge
from specs.model import Spec
from specs.validate import validate

DIGEST = f"sha256:{'0' * 64}"


def _spec(text: str) -> Spec:
    return validate(merge([Source("s", parse(text, "s.yaml"), frozenset())]), Path())


def _many(apps: int, subnet: str = "") -> str:
    docker = f"docker: {{subnet: {subnet}}}\n" if subnet else ""
    lines = [f"  app{n}: {{image: 'x@{DIGEST}', port: 8000}}\n" for n in range(apps)]
    return f"name: many\n{docker}apps:\n{''.join(lines)}"


def test_an_empty_section_is_there_with_its_defaults() -> None:
    spec = _spec("name: web\npostgres:\ncaddy:\n")
    assert spec.postgres is not None
    assert spec.caddy is not None
    assert spec.data.strategy == "replica"


def test_without_sections_little_is_there() -> None:
    spec = _spec("name: web\n")
    assert (spec.postgres, spec.docker, spec.caddy, spec.borg) == (None, None, None, None)
    assert spec.data.strategy == "none"
    assert [user.name for user in spec.users if user.sudo] == ["deploy"]


def test_docker_comes_with_apps() -> None:
    assert _spec(_many(1)).docker is not None
    assert _spec("name: web\ndocker:\n").docker is not None


@pytest.mark.parametrize(("apps", "subnet"), [(255, "172.30.0.0/16"), (256, WIDE_SUBNET)])
def test_many_apps_get_a_wider_subnet(apps: int, subnet: str) -> None:
    docker = _spec(_many(apps)).docker
    assert docker is not None
    assert docker.subnet == subnet


def test_a_subnet_of_ones_own_must_have_room() -> None:
    assert _spec(_many(255, "10.20.0.0/16"))
    with pytest.raises(SpecError, match=r"docker\.subnet: has room for 255 apps"):
        _spec(_many(256, "10.20.0.0/16"))


def test_more_apps_than_ports_are_refused() -> None:
    assert len(_spec(_many(500)).apps) == 500
    with pytest.raises(SpecError, match="apps: are 501; 500 is the most"):
        _spec(_many(501))


def test_problems_come_in_the_order_of_the_file() -> None:
    with pytest.raises(SpecError) as caught:
        _spec("ssh: {port: x}\nname: X\nusers: {A: }\nzzz: 1\n")
    lines = [problem.place.line for problem in caught.value.problems]
    assert lines == [1, 2, 3, 4]


def test_the_same_as_data() -> None:
    with pytest.raises(SpecError) as caught:
        _spec("name: web\nssh:\n  prot: 1\n")
    assert [problem.as_data() for problem in caught.value.problems] == [
        {
            "file": "s.yaml",
            "line": 3,
            "column": 3,
            "path": "ssh.prot",
            "message": "unknown key",
            "hint": "did you mean port?",
        }
    ]


def test_a_thousand_errors_are_all_told() -> None:
    lines = "".join(f"  app{n}: {{imag: x, port: 0, replicas: many}}\n" for n in range(300))
    with pytest.raises(SpecError) as caught:
        _spec(f"name: web\napps:\n{lines}")
    assert len(caught.value.problems) == 900
