"""DigitalOcean's images: the vendor's own, imported ones, and snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.emulators import digitalocean_things as things
from tests.emulators.digitalocean_things import (
    BASES,
    REGIONS,
    Image,
    Substrate,
    known,
    listed,
    ok,
    refuse,
)
from tests.emulators.served import Answer, Request

if TYPE_CHECKING:
    from tests.emulators.digitalocean import DigitalOcean


class Images:
    """Each is in regions; a droplet is made where its image is. `bases` has the substrate's key of
    each of the vendor's own by its slug."""

    def __init__(self, cloud: DigitalOcean[Substrate], bases: Mapping[str, str]) -> None:
        self.cloud = cloud
        self.all = {
            number: Image(number, name, "base", bases.get(slug, slug), [*REGIONS], slug=slug)
            for number, (slug, name) in enumerate(BASES.items(), 101)
        }
        for method, path, handler in (
            ("GET", "/v2/images", self._list),
            ("POST", "/v2/images", self._import),
            ("GET", "/v2/images/{image}", lambda r: ok("image", self._image(r).shown())),
            ("PUT", "/v2/images/{image}", self._name),
            ("DELETE", "/v2/images/{image}", self._delete),
            ("POST", "/v2/images/{image}/actions", self._act),
            ("GET", "/v2/images/{image}/actions/{action}", cloud.action_of),
            ("DELETE", "/v2/snapshots/{image}", self._delete),
        ):
            cloud.route(method, path, handler)

    def add(self, name: str, source: Path, tags: Sequence[str]) -> None:
        """A snapshot that somebody took of a droplet, in every region."""
        number = next(self.cloud.numbers)
        key, kept = f"snapshot-{number}", [self.cloud.tags.canonical(tag) for tag in tags]
        self.cloud.add_image(key, source)
        self.all[number] = Image(number, name, "snapshot", key, [*REGIONS], kept, size=1 << 30)

    def named(self, word: object) -> Image | None:
        """By number or slug."""
        every = self.all.values()
        return next((one for one in every if str(word) in (str(one.id), one.slug)), None)

    def _list(self, request: Request) -> Answer:
        kind, tag = request.first("type"), request.first("tag_name")
        private = request.first("private") == "true"
        found = [
            one.shown()
            for one in self.all.values()
            if not (private and one.kind == "base")
            and not (kind and one.kind != "base")
            and (not tag or self.cloud.tags.all.get(tag.lower(), tag) in one.tags)
        ]
        return listed(request, "images", found)

    def _import(self, request: Request) -> Answer:
        body = request.body
        number = next(self.cloud.numbers)
        labels = [self.cloud.tags.canonical(tag) for tag in body.get("tags") or ()]
        new = Image(
            number, body["name"], "custom", f"custom-{number}", [body["region"]], labels, "", "NEW"
        )
        self.all[number] = new

        def fetch() -> None:
            source = self.cloud.internet.get(body["url"])
            if source is None:
                new.why = "your image could not be downloaded"
                return
            self.cloud.add_image(new.key, source)
            new.size = source.stat().st_blocks * 512
            new.status = "available"

        about = ("image", number, body["region"])
        self.cloud.actions.begin("import", about, fetch, on=("image", number))
        return ok("image", new.shown(), 202)

    def _name(self, request: Request) -> Answer:
        found = self._image(request)
        found.name = request.body.get("name", found.name)
        return ok("image", found.shown())

    def _delete(self, request: Request) -> Answer:
        found = self._image(request)
        if found.kind == "base":
            raise refuse("You are not authorized to perform this operation", 403, "forbidden")
        del self.all[found.id]
        self.cloud.machines.delete_image(found.key)
        return Answer(204)

    def _act(self, request: Request) -> Answer:
        found, where = self._image(request), request.body.get("region", "")
        if request.body["type"] != "transfer" or where not in REGIONS:
            raise refuse("Region is invalid")
        about = ("image", found.id, where)
        actions = self.cloud.actions
        begun = actions.begin("transfer", about, done=lambda: found.regions.append(where))
        return Answer(201, things.action(begun, actions.clock()))

    def _image(self, request: Request) -> Image:
        return known(self.named(request.names["image"]))
