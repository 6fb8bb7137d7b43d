"""DigitalOcean's SSH keys."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from tests.emulators.digitalocean_things import Key, Substrate, known, listed, ok, refuse
from tests.emulators.served import Answer, Request

if TYPE_CHECKING:
    from tests.emulators.digitalocean import DigitalOcean


class Keys:
    """No two of them are the same key; names may be."""

    def __init__(self, cloud: DigitalOcean[Substrate]) -> None:
        self.cloud = cloud
        self.all: dict[int, Key] = {}
        for method, path, handler in (
            ("GET", "/v2/account/keys", self._list),
            ("POST", "/v2/account/keys", self._make),
            ("GET", "/v2/account/keys/{key}", lambda r: ok("ssh_key", self._key(r).shown())),
            ("PUT", "/v2/account/keys/{key}", self._name),
            ("DELETE", "/v2/account/keys/{key}", self._delete),
        ):
            cloud.route(method, path, handler)

    def given(self, given: object) -> Key:
        """The one that a droplet is to have, by its number or fingerprint."""
        every = self.all.values()
        found = next(
            (one for one in every if given in (one.id, str(one.id), one.fingerprint)), None
        )
        if found is None:
            raise refuse(f"{given} are invalid key identifiers for Droplet creation.")
        return found

    def _list(self, request: Request) -> Answer:
        return listed(request, "ssh_keys", [one.shown() for one in self.all.values()])

    def _make(self, request: Request) -> Answer:
        line = str(request.body["public_key"])
        try:
            kind, blob = line.split()[:2]
            if kind.encode() not in base64.b64decode(blob, validate=True)[:30]:
                raise ValueError(kind)
        except (ValueError, binascii.Error):
            raise refuse("SSH Key is invalid") from None
        new = Key(next(self.cloud.numbers), request.body["name"], line)
        if any(one.fingerprint == new.fingerprint for one in self.all.values()):
            raise refuse("SSH Key is already in use on your account")
        self.all[new.id] = new
        return ok("ssh_key", new.shown(), 201)

    def _name(self, request: Request) -> Answer:
        found = self._key(request)
        found.name = request.body.get("name", found.name)
        return ok("ssh_key", found.shown())

    def _delete(self, request: Request) -> Answer:
        del self.all[self._key(request).id]
        return Answer(204)

    def _key(self, request: Request) -> Key:
        wanted = request.names["key"].replace("%3A", ":")
        every = self.all.values()
        found = next((one for one in every if wanted in (str(one.id), one.fingerprint)), None)
        return known(found)
