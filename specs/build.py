"""Data that the schema found good → the typed `Spec`, every default filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from specs.model import (
    App,
    Borg,
    Build,
    Caddy,
    Data,
    Database,
    Deploy,
    Docker,
    Firewall,
    Keep,
    Notify,
    Postgres,
    Publish,
    Rebuild,
    Repository,
    Rule,
    Secrets,
    Site,
    Source,
    Spec,
    Ssh,
    System,
    User,
)

Raw = Mapping[str, Any]

DEFAULT_USER: Final = User("deploy", sudo=True)
"""Who is there when the spec names nobody: someone must be able to log in."""

MANY_APPS: Final = 255
"""More apps than this do not fit the default subnet, which holds 256 networks of /24."""

WIDE_SUBNET: Final = "10.128.0.0/12"
"""The default for more apps; it holds 4,096 networks."""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def build(raw: Raw) -> Spec:
    """The whole spec. `raw` has passed the schema."""
    apps = tuple(_app(name, value) for name, value in raw.get("apps", {}).items())
    users = tuple(User(name, **_fields(value)) for name, value in raw.get("users", {}).items())
    docker = _docker(raw.get("docker", {}), len(apps)) if apps or "docker" in raw else None
    postgres = _postgres(raw["postgres"]) if "postgres" in raw else None
    return Spec(
        name=raw["name"],
        system=_system(raw.get("system", {})),
        users=users or (DEFAULT_USER,),
        ssh=Ssh(**raw.get("ssh", {})),
        firewall=Firewall(
            tuple(Rule(**_fields(rule)) for rule in raw.get("firewall", {}).get("allow", ()))
        ),
        postgres=postgres,
        docker=docker,
        apps=apps,
        caddy=_caddy(raw["caddy"]) if "caddy" in raw else None,
        borg=_borg(raw["borg"]) if "borg" in raw else None,
        secrets=_secrets(raw.get("secrets", {})),
        data=Data(
            **{"strategy": "replica" if postgres else "none", **_fields(raw.get("data", {}))}
        ),
        deploy=_deploy(raw.get("deploy", {})),
        rebuild=_rebuild(raw.get("rebuild", {})),
        notify=Notify(**_fields(raw.get("notify", {}))),
    )


def _fields(raw: Raw, **more: Any) -> dict[str, Any]:
    """A section's fields for its dataclass: lists become tuples, `more` wins."""
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in {**raw, **more}.items()
    }


def _system(raw: Raw) -> System:
    repositories = tuple(
        Repository(**_fields({"components": ["main"], **repository}))
        for repository in raw.get("repositories", ())
    )
    return System(**_fields(raw, repositories=repositories))


def _postgres(raw: Raw) -> Postgres:
    databases = tuple(
        Database(name, **_fields({"owner": name, **value}))
        for name, value in raw.get("databases", {}).items()
    )
    return Postgres(**_fields(raw, databases=databases))


def _docker(raw: Raw, apps: int) -> Docker:
    return Docker(**({"subnet": WIDE_SUBNET, **raw} if apps > MANY_APPS else raw))


def _app(name: str, raw: Raw) -> App:
    publish = tuple(Publish(**{"target": port["port"], **port}) for port in raw.get("publish", ()))
    build = Build(**_fields(raw["build"])) if "build" in raw else None
    return App(name, **_fields(raw, publish=publish, build=build))


def _caddy(raw: Raw) -> Caddy:
    sites = tuple(
        Site(address, **_fields(value)) for address, value in raw.get("sites", {}).items()
    )
    return Caddy(**_fields(raw, sites=sites))


def _borg(raw: Raw) -> Borg:
    return Borg(**_fields(raw, keep=Keep(**raw.get("keep", {}))))


def _secrets(raw: Raw) -> Secrets:
    sources = {name: Source(**_fields(source)) for name, source in raw.get("sources", {}).items()}
    return Secrets(**_fields(raw, sources=sources))


def _deploy(raw: Raw) -> Deploy:
    times = {key: _seconds(raw[key]) for key in ("confirm", "drain") if key in raw}
    return Deploy(**_fields(raw, **times))


def _rebuild(raw: Raw) -> Rebuild:
    age = {"max_age": _seconds(raw["max_age"])} if "max_age" in raw else {}
    return Rebuild(**_fields(raw, **age))


def _seconds(text: str) -> int:
    """`90`, `90s`, `2m` and `30d` as seconds."""
    unit = _SECONDS.get(text[-1], 0)
    return int(text[:-1]) * unit if unit else int(text)
