"""Calls of DigitalOcean's API through pydo: each one is answered, or ends with a next step.

pydo repeats nothing here (`retry_total=0`): its pipeline would send a POST again after a 503, and
so make two servers. What may be repeated, and what must be looked for first, is decided below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import pydo
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError
from azure.core.pipeline import PipelineRequest

from images.providers.base import unguarded
from images.providers.tokens import HERE
from images.providers.waiting import Waiting
from specs.errors import BakehouseError

T = TypeVar("T")
Body = Mapping[str, Any]
Call = Callable[..., Any]

ENDPOINT: Final = "https://api.digitalocean.com"
ACTION: Final = 900.0
"""Seconds that an action may take."""

LOOKS: Final = 5
"""How often a thing whose making was not answered is looked for before it is made again."""

PAGE: Final = 200
"""Entries of a page, the most that the API gives (its reference, "Links & Pagination")."""

PENDING: Final = ("pending event", "event is already", "is locked", "currently being processed")
"""In the message of a 422 that means: later (Terraform's provider, issue 1034; Packer, 1814)."""

FULL: Final = ("unavailable", "not available", "capacity", "sold out")
"""In the message of a 422 that means: another size or region may do."""


class RefusedError(BakehouseError):
    """The API answered that it will not. `status` is HTTP's, `said` the API's own words."""

    def __init__(self, status: int, said: str, hint: str = "") -> None:
        super().__init__(f"DigitalOcean: {said} ({status})", hint or _hint(status))
        self.status = status
        self.said = said

    @property
    def full(self) -> bool:
        """Whether another size or region may do."""
        return self.status == 422 and any(word in self.said.lower() for word in FULL)


class MissingError(RefusedError):
    """There is no such thing."""


class BusyError(RefusedError):
    """Not now; nothing was done. `later` is in seconds, 0 when the API did not say."""

    later: float = 0.0


class SilentError(BakehouseError):
    """No answer, or one of a broken server: it may have been done, or not."""


class ActionError(BakehouseError):
    """An action ended in an error at the vendor's."""


class Api:
    """A connection with one token. Raises as `images.providers.base.Provider` promises."""

    def __init__(
        self,
        token: str,
        endpoint: str = "",
        waiting: Waiting | None = None,
    ) -> None:
        self.waiting = waiting or Waiting()
        self.check: Callable[[], None] = unguarded
        self.token = token
        self.endpoint = endpoint or ENDPOINT
        self._secure = not self.endpoint.startswith(HERE)
        self.client: Any = pydo.Client(
            token=token,
            endpoint=self.endpoint,
            retry_total=0,
            connection_timeout=10,
            read_timeout=60,
            raw_request_hook=self._changes,
        )

    def _changes(self, request: PipelineRequest[Any]) -> None:
        """Called by the client's pipeline before each request."""
        if request.http_request.method != "GET":
            self.check()

    def once(self, call: Call, *words: Any, **more: Any) -> Any:
        """One request, never repeated. Raises RefusedError or SilentError."""
        try:
            status, body, headers = call(*words, cls=_whole, enforce_https=self._secure, **more)
        except HttpResponseError as error:
            status, headers = error.status_code or 0, _headers(error)
            body = _body(error)
        except ServiceRequestError as error:
            raise SilentError(
                f"DigitalOcean cannot be reached: {error.message}",
                "see that this machine reaches the internet; nothing was changed by this call",
            ) from error
        except AzureError as error:
            raise SilentError(
                f"DigitalOcean did not answer: {error.message}", "try again in some minutes"
            ) from error
        if 200 <= status < 300:
            return body
        raise _error(status, body, headers)

    def ask(self, call: Call, *words: Any, **more: Any) -> Any:
        """A request that may be repeated: one that reads, replaces or deletes."""
        for attempt in self._attempts():
            try:
                return self.once(call, *words, **more)
            except (BusyError, SilentError) as error:
                attempt.failed(error)
            except RefusedError as error:
                if error.status != 409:
                    raise
                attempt.failed(error)
        raise AssertionError("attempts end with an error")

    def make(self, call: Call, *words: Any, body: Body, find: Callable[[], T | None]) -> Any | T:
        """A request that makes something, which `find` finds when its answer was lost.

        The API's answer, or what `find` found.
        """
        for attempt in self._attempts():
            try:
                return self.once(call, *words, body=dict(body))
            except BusyError as error:
                attempt.failed(error)
            except SilentError as error:
                for _ in range(LOOKS):
                    if (found := find()) is not None:
                        return found
                    self.waiting.sleep(1.0)
                attempt.failed(error)
        raise AssertionError("attempts end with an error")

    def until(self, reached: Callable[[], bool], act: Callable[[], Any]) -> None:
        """Begin an action until its end is reached: whatever became of an answer or an action,
        it is looked at again before anything is repeated."""
        for attempt in self._attempts():
            if reached():
                return
            try:
                self.finish(act())
                if reached():
                    return
                attempt.failed(SilentError("DigitalOcean: the action ended without effect"))
            except (BusyError, SilentError, ActionError) as error:
                attempt.failed(error)
            except RefusedError as error:
                if reached():
                    return
                if error.status != 409:
                    raise
                attempt.failed(error)

    def finish(self, answer: Any) -> None:
        """Wait for the actions that an answer names. Raises ActionError when one fails."""
        links = (answer.get("links") or {}).get("actions") or ()
        for action in filter(None, (answer.get("action"), *links)):
            self._finish(action)

    def _finish(self, action: Any) -> None:
        deadline = self.waiting.clock() + ACTION
        pause = 0.5
        while action.get("status", "in-progress") == "in-progress":
            if self.waiting.clock() > deadline:
                raise SilentError(
                    f"DigitalOcean: the action {action['id']} does not end",
                    "look at the server's history in the control panel",
                )
            self.waiting.sleep(pause)
            pause = min(pause * 1.5, 5.0)
            action = self.ask(self.client.actions.get, action["id"])["action"]
        if action["status"] != "completed":
            raise ActionError(
                f"DigitalOcean: the action {action.get('type', '')} ({action['id']}) failed",
                "try again; status.digitalocean.com tells of incidents",
            )

    def pages(self, call: Call, key: str, **query: Any) -> list[Any]:
        """All entries of a list, of all its pages."""
        found: list[Any] = []
        page = 1
        while True:
            answer = self.ask(call, per_page=PAGE, page=page, **query)
            found += answer.get(key) or ()
            if "next" not in ((answer.get("links") or {}).get("pages") or {}):
                return found
            page += 1

    def _attempts(self) -> Iterator[_Attempt]:
        attempt = _Attempt()
        for _ in self.waiting.pauses():
            attempt.begins()
            yield attempt
            if attempt.error is None:
                return
            if isinstance(attempt.error, BusyError) and attempt.error.later:
                self.waiting.sleep(attempt.error.later)
        assert attempt.error is not None
        raise attempt.error


@dataclass(slots=True)
class _Attempt:
    error: BakehouseError | None = None

    def begins(self) -> None:
        """Nothing is wrong yet."""
        self.error = None

    def failed(self, error: BakehouseError) -> None:
        """It has to be tried again, unless too much time has passed."""
        self.error = error


def _whole(pipeline: Any, body: Any, _: Any) -> tuple[int, Any, Mapping[str, str]]:
    response = pipeline.http_response
    return response.status_code, body, response.headers


def _headers(error: HttpResponseError) -> Mapping[str, str]:
    return getattr(error.response, "headers", None) or {}


def _body(error: HttpResponseError) -> Any:
    try:
        return error.response.json()
    except (AttributeError, ValueError, AzureError):
        return {}


def _error(status: int, body: Any, headers: Mapping[str, str]) -> BakehouseError:
    said = str(body.get("message", "") if isinstance(body, Mapping) else "") or "no reason given"
    if status >= 500 or status == 0:
        return SilentError(
            f"DigitalOcean has a fault: {said} ({status})",
            "try again in some minutes; status.digitalocean.com tells of incidents",
        )
    pending = status == 422 and any(word in said.lower() for word in PENDING)
    if pending or status in (423, 429):
        busy = BusyError(status, said, "wait until what runs there has ended" if pending else "")
        busy.later = _later(headers)
        return busy
    return (MissingError if status == 404 else RefusedError)(status, said)


def _later(headers: Mapping[str, str]) -> float:
    """Seconds of `Retry-After`, a minute at most: the hourly limit is told, not slept through."""
    try:
        return min(60.0, max(0.0, float(headers.get("retry-after", "0"))))
    except ValueError:
        return 0.0


def _hint(status: int) -> str:
    match status:
        case 401:
            return (
                "the token is unknown or was revoked: make a new one, as docs/digitalocean.md says"
            )
        case 403:
            return "the token lacks a scope: docs/digitalocean.md lists those that are needed"
        case 404:
            return "`invoke status` shows what there is"
        case 422:
            return "when it is a limit of the account, delete what is unused or ask for more"
        case 429:
            return "the API's hourly limit is used up: try again later"
        case _:
            return "try again in some minutes"
