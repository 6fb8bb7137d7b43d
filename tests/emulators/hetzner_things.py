"""Hetzner's resources in memory: listed, found, changed and deleted in the same way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.emulators.actions import labels_of
from tests.emulators.hetzner_catalogue import LABEL
from tests.emulators.served import Answer, Refusal, Request

Json = dict[str, Any]


@dataclass(slots=True)
class Thing:
    """A resource: what the API shows of it, and what only the emulator knows."""

    shown: Json
    hidden: Json = field(default_factory=dict)

    @property
    def id(self) -> int:
        """The vendor's number."""
        number: int = self.shown["id"]
        return number


@dataclass(slots=True)
class Kind:
    """All resources of a kind. `one` and `many` are its words in answers; `show` makes the answer
    of a thing; `limit` is the project's quota, `also` stands beside its lists."""

    one: str
    many: str
    numbers: Iterator[int] = field(default_factory=lambda: count(1001))
    things: dict[int, Thing] = field(default_factory=dict)
    show: Callable[[Thing], Json] = lambda thing: thing.shown
    limit: int = 50
    also: Json = field(default_factory=dict)

    def add(self, shown: Json, **hidden: Any) -> Thing:
        """A new one. A name that another one has is refused, and so is one beyond the quota."""
        self.unique(shown.get("name"))
        checked_labels(shown)
        if len(self.things) >= self.limit:
            raise Refusal(403, "resource_limit_exceeded", f"{self.one} limit exceeded")
        shown.setdefault("id", next(self.numbers))
        thing = Thing(shown, hidden)
        self.things[thing.id] = thing
        return thing

    def unique(self, name: str | None, but: int = 0) -> None:
        """Refuse a name that another one has."""
        for thing in self.things.values():
            if name and thing.shown.get("name") == name and thing.id != but:
                raise Refusal(409, "uniqueness_error", f"{self.one} name is already used")

    def get(self, number: int) -> Thing:
        """One of them; what there is not is refused."""
        if number not in self.things:
            message = f"{self.one.replace('_', ' ')} with ID '{number}' not found"
            raise Refusal(404, "not_found", message)
        return self.things[number]

    def named(self, word: object) -> Thing:
        """By id or by name, as requests say it."""
        for thing in self.things.values():
            if str(word) in (str(thing.id), thing.shown.get("name")):
                return thing
        raise Refusal(404, "not_found", f"{self.one} not found: {word}")

    def list(self, request: Request) -> Answer:
        """The list, by name, labels and other fields, in pages."""
        wanted = labels_of(request.query)
        names = request.query.get("name", ())
        found = [
            thing
            for thing in self.things.values()
            if wanted.items() <= thing.shown.get("labels", {}).items()
            and (not names or thing.shown.get("name") in names)
            and all(
                str(thing.shown.get(key)) in request.query[key]
                for key in ("type", "status", "fingerprint", "architecture", "ip", "bound_to")
                if key in request.query
            )
        ]
        page = paged(request, self.many, [self.show(thing) for thing in found])
        return Answer(200, {**page.body, **self.also})

    def read(self, request: Request) -> Answer:
        """One of them."""
        return Answer(200, {self.one: self.show(self.get(request.number()))})

    def change(self, request: Request) -> Answer:
        """Name, labels, description."""
        thing = self.get(request.number())
        body = request.body or {}
        self.unique(body.get("name"), thing.id)
        checked_labels(body)
        thing.shown.update(body)
        return Answer(200, {self.one: self.show(thing)})

    def drop(self, request: Request) -> Answer:
        """One is gone."""
        del self.things[self.get(request.number()).id]
        return Answer(204)


def checked_labels(body: Json) -> None:
    """Refuse labels that the vendor does not take."""
    for key, value in (body.get("labels") or {}).items():
        prefix, _, name = key.rpartition("/")
        if (
            not (re.fullmatch(LABEL, value) and name and re.fullmatch(LABEL, name))
            or len(prefix) > 253
        ):
            raise invalid("labels", "label value is invalid")


def invalid(name: str, message: str) -> Refusal:
    """The vendor's answer to a field that does not fit."""
    details = {"fields": [{"name": name, "messages": [message]}]}
    return Refusal(422, "invalid_input", f"invalid input in field '{name}'", details)


def paged(request: Request, many: str, shown: list[Json]) -> Answer:
    """A page of a list (25 entries unless the client says otherwise, 50 at most)."""
    size = min(50, int(request.first("per_page", "25")))
    page = int(request.first("page", "1"))
    last = max(1, -(-len(shown) // size))
    pagination = {
        "page": page,
        "per_page": size,
        "previous_page": page - 1 if page > 1 else None,
        "next_page": page + 1 if page < last else None,
        "last_page": last,
        "total_entries": len(shown),
    }
    rows = shown[(page - 1) * size : page * size]
    return Answer(200, {many: rows, "meta": {"pagination": pagination}})
