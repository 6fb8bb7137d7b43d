"""DigitalOcean's tags, which keep the case in which they were first written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.emulators.digitalocean_things import Json, Substrate, known, listed, ok
from tests.emulators.served import Answer, Request

if TYPE_CHECKING:
    from tests.emulators.digitalocean import DigitalOcean


class Tags:
    """`all` has each by its name in small letters."""

    def __init__(self, cloud: DigitalOcean[Substrate]) -> None:
        self.cloud = cloud
        self.all: dict[str, str] = {}
        for method, path, handler in (
            ("GET", "/v2/tags", self._list),
            ("POST", "/v2/tags", self._make),
            ("GET", "/v2/tags/{tag}", lambda r: ok("tag", self._shown(self._named(r)))),
            ("DELETE", "/v2/tags/{tag}", self._delete),
            ("POST", "/v2/tags/{tag}/resources", self._add),
            ("DELETE", "/v2/tags/{tag}/resources", self._take),
        ):
            cloud.route(method, path, handler)

    def canonical(self, tag: str) -> str:
        """The tag as it was first written, which this may be."""
        return self.all.setdefault(tag.lower(), tag)

    def _list(self, request: Request) -> Answer:
        found = [self._shown(name) for name in self.all.values()]
        return listed(request, "tags", found)

    def _make(self, request: Request) -> Answer:
        return ok("tag", self._shown(self.canonical(request.body["name"])), 201)

    def _delete(self, request: Request) -> Answer:
        name = self._named(request)
        del self.all[name.lower()]
        for tags in self._of_all():
            if name in tags:
                tags.remove(name)
        return Answer(204)

    def _add(self, request: Request) -> Answer:
        name = self._named(request)
        for tags in self._tagged(request):
            if name not in tags:
                tags.append(name)
        return Answer(204)

    def _take(self, request: Request) -> Answer:
        name = self._named(request)
        for tags in self._tagged(request):
            if name in tags:
                tags.remove(name)
        return Answer(204)

    def _named(self, request: Request) -> str:
        name = request.names["tag"].replace("%3A", ":")
        return known(name if self.all.get(name.lower()) == name else None)

    def _shown(self, name: str) -> Json:
        counted = {
            "droplets": sum(name in one.tags for one in self.cloud.droplets.all.values()),
            "imgages": sum(name in one.tags for one in self.cloud.images.all.values()),
            "volumes": sum(name in one.tags for one in self.cloud.volumes.all.values()),
            "volume_snapshots": 0,
            "databases": 0,
        }
        each: Json = {kind: {"count": count} for kind, count in counted.items()}
        return {"name": name, "resources": {"count": sum(counted.values()), **each}}

    def _tagged(self, request: Request) -> list[list[str]]:
        kinds: dict[str, Mapping[Any, Any]] = {
            "droplet": self.cloud.droplets.all,
            "image": self.cloud.images.all,
            "volume": self.cloud.volumes.all,
        }
        found = []
        for one in request.body["resources"]:
            kind, name = one["resource_type"], one["resource_id"]
            thing = kinds[kind].get(name if kind == "volume" else int(name))
            found.append(known(thing).tags)
        return found

    def _of_all(self) -> list[list[str]]:
        cloud = self.cloud
        kinds = (cloud.droplets.all, cloud.images.all, cloud.volumes.all)
        return [one.tags for kind in kinds for one in kind.values()]
