"""The default server, baked once for every test that boots it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.boot import boot
from images.build import build
from images.home import find_home
from images.machine import Description
from images.progress import Progress
from specs.plan import Role, resolve
from specs.read import read

HOBBY = Path(__file__).parents[2] / "specs/hobby.yaml"

Describe = Callable[[Role, bool], Description]


@pytest.fixture(scope="session")
def hobby_image() -> Path:
    """The raw image of `specs/hobby.yaml`: BAKEHOUSE_TEST_IMAGE, else the one that is built."""
    given = os.environ.get("BAKEHOUSE_TEST_IMAGE")
    if given:
        return Path(given)
    return build(read(HOBBY), HOBBY, find_home(), Progress()).path


@pytest.fixture(scope="session")
def hobby(hobby_image: Path) -> Describe:
    """A machine of that image, by its role and whether it may make an empty cluster."""
    server = resolve(read(HOBBY), None, ()).server

    def describe(role: Role, may_init: bool) -> Description:
        def user_data(key: str) -> str:
            return boot(replace(server, role=role, may_init=may_init, operator_keys=(key,)))

        return Description(source=hobby_image, admin=server.admin, user_data=user_data)

    return describe
