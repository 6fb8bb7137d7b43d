"""Hetzner's API through its own client: errors in our words, retries, and actions awaited.

An attempt looks before it acts, so it may be repeated after an answer that was lost.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import requests
from hcloud import APIException, Client

from images.providers.base import unguarded
from images.providers.waiting import Waiting
from specs.errors import BakehouseError

T = TypeVar("T")

ENDPOINT: Final = "https://api.hetzner.cloud/v1"
TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""

PASSING: Final = frozenset(
    {
        "locked",
        "conflict",
        "rate_limit_exceeded",
        "maintenance",
        "unavailable",
        "timeout",
        "bad_gateway",
        "service_error",
        "server_error",
    }
)
"""Errors that pass by themselves (Hetzner's API reference, "Errors")."""

ELSEWHERE: Final = frozenset({"resource_unavailable", "placement_error"})
"""Another location or server type may have room (the same place)."""

UNSOLD: Final = re.compile(
    r"unsupported location for server type|server type .*(unavailable|deprecated|not found)",
    re.IGNORECASE,
)
"""What Hetzner says, as `invalid_input`, of a server type that a location does not offer, or that
was taken off the market; its reference has no code of its own for that."""

HINTS: Final = {
    "unauthorized": "put a valid token into HCLOUD_TOKEN, or `hcloud-token` into the secrets file",
    "forbidden": "the token needs the permission Read & Write: make one in the project's console",
    "token_readonly": "make a token with the permission Read & Write in the project's console",
    "resource_limit_exceeded": "`invoke gc --spec FILE` frees what nothing needs; more is "
    "granted on request in Hetzner's console, under Limits",
    "uniqueness_error": "something that is not ours has this name: rename or delete it",
    "protected": "take its protection away in Hetzner's console",
}


class ElsewhereError(BakehouseError):
    """No room here."""


class FailedActionError(BakehouseError):
    """What Hetzner had begun came to nothing; `code` is its word for why."""

    def __init__(self, what: str, code: str, message: str) -> None:
        super().__init__(
            f"{what}: Hetzner began it, and then: {message} ({code})", "try again; see its console"
        )
        self.code = code


class _Once(Client):
    """The client without its own retries, which know nothing of our waiting.

    `check` is called before each request that changes something.
    """

    def __init__(self, token: str, endpoint: str, check: Callable[[], None]) -> None:
        super().__init__(
            token,
            api_endpoint=endpoint,
            application_name="bakehouse",
            timeout=TIMEOUT,
        )
        self._client._retry_max_retries = 0
        send = self._client.request

        def checked(method: str, url: str, **words: Any) -> dict[str, Any]:
            if method != "GET":
                check()
            return send(method, url, **words)

        # hcloud has no hook for requests; mypy sees that a method is replaced, which is meant.
        self._client.request = checked  # type: ignore[method-assign]


@dataclass(slots=True)
class Api:
    """One project. Each thread has a client of its own, since their sessions are not to be shared.

    The token is in no message, no log and no `repr`.
    """

    token: str = field(repr=False)
    endpoint: str = ENDPOINT
    waiting: Waiting = field(default_factory=Waiting)
    check: Callable[[], None] = unguarded
    _local: threading.local = field(default_factory=threading.local, repr=False)

    @property
    def client(self) -> Any:
        """This thread's. Unchecked: the client types each field of what it returns as optional."""
        if not hasattr(self._local, "client"):
            self._local.client = _Once(self.token, self.endpoint, self._changes)
        return self._local.client

    def _changes(self) -> None:
        self.check()

    def repeat(self, what: str, attempt: Callable[[], T]) -> T:
        """Attempt it until it is done. `what` names it in errors.

        Raises BakehouseError in our words, ElsewhereError where there is no room.
        """
        last = ""
        for _ in self.waiting.pauses():
            try:
                return attempt()
            except APIException as error:
                last = f"{error.message} ({error.code})"
                if not passing(error):
                    raise told(what, error) from error
            except FailedActionError as error:
                if error.code not in PASSING:
                    raise
                last = error.message
            except requests.RequestException as error:
                last = f"no answer ({type(error).__name__})"
        raise BakehouseError(
            f"{what}: Hetzner did not do it within {self.waiting.patience:g} s: {last}",
            "see its status page; run the same again, which goes on from here",
        )

    def await_all(self, what: str, actions: Iterable[Any]) -> None:
        """Wait until they are done. Raises FailedActionError."""
        for action in actions:
            if action is not None:
                self._await(what, action)

    def _await(self, what: str, action: Any) -> None:
        for _ in self.waiting.pauses():
            if action.status == "running":
                action = self.ask(what, partial(self.client.actions.get_by_id, action.id))
            if action.status == "success":
                return
            if action.status == "error":
                error = action.error or {}
                raise FailedActionError(
                    what, str(error.get("code", "")), str(error.get("message", "no reason"))
                )
        raise BakehouseError(
            f"{what}: Hetzner's action {action.id} has not ended after {self.waiting.patience:g} s",
            "see its console; run the same again, which goes on from here",
        )

    def ask(self, what: str, look: Callable[[], T]) -> T:
        """A request that only reads."""
        return self.repeat(what, look)

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Look until it is so. Raises BakehouseError when it never is."""
        for _ in self.waiting.pauses():
            if self.ask(what, holds):
                return
        raise BakehouseError(
            f"{what}: not so after {self.waiting.patience:g} s", "see Hetzner's console"
        )


def passing(error: APIException) -> bool:
    """Whether the same request may succeed in a moment."""
    if isinstance(error.code, int):
        return error.code >= 500 or error.code in (408, 409, 423, 429)
    return error.code in PASSING


def elsewhere(code: str, message: str) -> bool:
    """Whether the same order may be met with another server type, or in another location."""
    return code in ELSEWHERE or (code == "invalid_input" and UNSOLD.search(message) is not None)


def told(what: str, error: APIException) -> BakehouseError:
    """Hetzner's error in our words."""
    code = str(error.code)
    message = f"{what}: Hetzner says: {error.message} ({code})"
    if elsewhere(code, str(error.message)):
        return ElsewhereError(
            message, "name further `deploy.locations` and `deploy.server_types` to try"
        )
    if code == "401":
        code = "unauthorized"
    return BakehouseError(message, HINTS.get(code, "see Hetzner's API reference for this error"))
