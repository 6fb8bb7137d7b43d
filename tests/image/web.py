"""Requests to the machine's web server by its address, whatever name the site has."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

TIMEOUT = 15


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def fetch(
    address: str,
    host: str,
    path: str = "/",
    *,
    authority: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """GET a path of the site `host`; by HTTPS when `authority` (certificates in PEM) vouches."""
    sock = socket.create_connection((address, 443 if authority else 80), TIMEOUT)
    if authority:
        context = ssl.create_default_context(cadata=authority)
        sock = context.wrap_socket(sock, server_hostname=host)
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    connection.sock = sock
    try:
        connection.request("GET", path, headers={"Host": host, **(headers or {})})
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, fields, answer.read())
    finally:
        connection.close()


def host_of(address: str) -> str:
    """The host name to ask for, from a site's address; any will do when the site takes any."""
    name = address.removeprefix("https://").removeprefix("http://").partition(":")[0]
    return name or "any.example"
