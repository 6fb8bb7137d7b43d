"""The vendors' APIs at the wire: what their clients send is kept, and answered from a table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

Answer = tuple[int, object]
"""A status and a body; status 0 is no answer."""


@dataclass
class Wire:
    """`answers` by method and path: each request takes the next one, the last one stays."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, **_more: Any) -> Any:
        """In the place of `HTTPAdapter.send`."""
        asked = f"{request.method} {request.path_url.partition('?')[0]}"
        self.sent.append(asked)
        kept = self.answers[asked]
        status, body = kept.pop(0) if len(kept) > 1 else kept[0]
        if status == 0:
            raise requests.ConnectionError("cut")
        told = BytesIO(json.dumps(body).encode())
        kind = {"content-type": "application/json"}
        raw = HTTPResponse(told, kind, status, preload_content=False)
        return HTTPAdapter().build_response(request, raw)


def wired(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Both clients send by `requests`; to be called before they are made."""
    wire = Wire()
    monkeypatch.setattr(HTTPAdapter, "send", wire.send)
    monkeypatch.setattr("platform.platform", lambda: "here")  # it starts a process to know
    return wire
