"""The schema is well-formed, documented, and agrees with the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest
from cerberus import Validator

from specs import model
from specs.kinds import Kind
from specs.rules import Rules
from specs.schema import SCHEMA


def _all(rules: Rules, path: str) -> Iterator[tuple[str, Rules]]:
    yield path, rules
    for name, field in (
        rules["schema"].items() if rules["type"] == "dict" and "schema" in rules else ()
    ):
        yield from _all(field, f"{path}.{name}".lstrip("."))
    if rules["type"] == "list":
        yield from _all(rules["schema"], f"{path}[]")
    if "valuesrules" in rules:
        yield from _all(rules["valuesrules"], f"{path}.NAME")


EVERY = dict(_all({"type": "dict", "schema": SCHEMA, "meta": {"description": "all"}}, ""))


def test_cerberus_takes_the_schema() -> None:
    Validator(SCHEMA)


def test_only_rules_that_have_words_are_used() -> None:
    used = {rule for rules in EVERY.values() for rule in rules}
    assert used == {
        *("type", "schema", "keysrules", "valuesrules", "meta"),
        *("required", "check_with", "allowed", "min", "max"),
    }


@pytest.mark.parametrize("path", [path for path in EVERY if not path.endswith(("[]", ".NAME"))])
def test_every_key_is_described(path: str) -> None:
    description = EVERY[path]["meta"]["description"]
    assert description == "all" or description.endswith(".")


@pytest.mark.parametrize("path", EVERY)
def test_examples_and_defaults_are_valid(path: str) -> None:
    rules = EVERY[path]
    kind = rules.get("check_with")
    for word in ("example", "default"):
        value = rules.get("meta", {}).get(word)
        if isinstance(kind, Kind) and value:
            assert kind.fault(value) is None
        if "allowed" in rules and value is not None:
            assert value in rules["allowed"]


SECTIONS = {
    "": model.Spec,
    "system": model.System,
    "system.repositories[]": model.Repository,
    "users.NAME": model.User,
    "ssh": model.Ssh,
    "firewall": model.Firewall,
    "firewall.allow[]": model.Rule,
    "postgres": model.Postgres,
    "postgres.databases.NAME": model.Database,
    "docker": model.Docker,
    "apps.NAME": model.App,
    "apps.NAME.build": model.Build,
    "apps.NAME.publish[]": model.Publish,
    "caddy": model.Caddy,
    "caddy.sites.NAME": model.Site,
    "borg": model.Borg,
    "borg.keep": model.Keep,
    "secrets": model.Secrets,
    "secrets.sources.NAME": model.Source,
    "data": model.Data,
    "deploy": model.Deploy,
    "rebuild": model.Rebuild,
    "notify": model.Notify,
}


@pytest.mark.parametrize("path", SECTIONS)
def test_keys_are_the_fields_of_the_model(path: str) -> None:
    names = {field.name for field in fields(SECTIONS[path])}
    if path.endswith("NAME"):
        names -= {"name", "address"}
    assert set(EVERY[path]["schema"]) - {"imports"} == names


def test_no_section_is_forgotten() -> None:
    assert {
        path for path, rules in EVERY.items() if "schema" in rules and rules["type"] == "dict"
    } == (set(SECTIONS))
