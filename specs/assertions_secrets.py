"""What must be true of secrets, as far as it can be seen without opening the secrets file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from specs.finding import Finding, near
from specs.model import App, Spec
from specs.needs import OF_THE_SERVER, TOKENS, needed, of_operator, welcome


def _of_apps(spec: Spec) -> Iterator[Finding]:
    for app in spec.apps:
        here = ("apps", app.name)
        for path, name in _named(app):
            if name in OF_THE_SERVER:
                yield Finding(
                    (*here, *path),
                    f"{name} opens the backups of the whole server",
                    "choose another name",
                )
            if name in TOKENS:
                yield Finding(
                    (*here, *path),
                    f"{name} opens the provider's account, and is given to no server",
                    "choose another name",
                )
        for variable in app.secret_environment:
            taken = "environment" if variable in app.environment else ""
            if variable == "DATABASE_URL" and app.database:
                taken = "database"
            if taken:
                yield Finding(
                    (*here, "secret_environment", variable),
                    f"is set by `{taken}` already",
                    "leave one of them out",
                )


def _of_operator(spec: Spec) -> Iterator[Finding]:
    """What the operator alone may know is not delivered."""
    delivered = {**needed(spec), **welcome(spec)}
    for index, name in enumerate(spec.notify.urls):
        if name in delivered:
            yield Finding(
                ("notify", "urls", index),
                f"{name} is delivered to servers, for {delivered[name][0]}",
                "choose another name: whoever reads it can write in your name",
            )


def _named(app: App) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where an app names which secret."""
    for index, name in enumerate(app.secrets):
        yield ("secrets", index), name
    for variable, name in app.secret_environment.items():
        yield ("secret_environment", variable), name


def _sources(spec: Spec) -> Iterator[Finding]:
    known = {**needed(spec), **welcome(spec), **of_operator(spec)}
    for name, source in spec.secrets.sources.items():
        here = ("secrets", "sources", name)
        if name not in known:
            yield Finding(
                here,
                "is needed by no app, not by borg and not by notify",
                near(name, known, "remove it"),
            )
        if not source.command:
            yield Finding((*here, "command"), "is empty", "name a program that prints the secret")


ASSERTIONS: Final = (_of_apps, _of_operator, _sources)
