"""Notes at Hetzner: placement groups that hold no server.

They cost nothing, have labels, and a name that is unique in the project, which the API enforces
when it makes one (its reference, "Create a PlacementGroup"). A project has 50 of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hcloud import APIException

from images.providers.base import Note
from images.providers.hetzner_api import Api
from images.providers.local_state import checked, word
from specs.errors import BakehouseError


def make_note(api: Api, name: str, labels: Mapping[str, str]) -> bool:
    """Make a note; False when one of this name exists.

    After an answer that was lost, the one that is there is ours when it says what ours would.
    """
    word(name, "the name of a note")
    wanted, begun = checked(labels), [0]

    def attempt() -> bool:
        begun[0] += 1
        try:
            api.client.placement_groups.create(name=name, type="spread", labels=wanted)
        except APIException as error:
            if error.code != "uniqueness_error":
                raise
            found = api.client.placement_groups.get_by_name(name)
            return begun[0] > 1 and found is not None and dict(found.labels) == wanted
        return True

    return api.repeat(f"make the note {name}", attempt)


def notes(api: Api, prefix: str) -> Sequence[Note]:
    """All notes whose name starts so, by name."""
    found = api.ask("list notes", api.client.placement_groups.get_all)
    named = [Note(one.name, dict(one.labels)) for one in found if one.name.startswith(prefix)]
    return sorted(named, key=lambda note: note.name)


def change_note(api: Api, name: str, labels: Mapping[str, str]) -> None:
    """Replace its labels. Raises BakehouseError when it is gone."""
    word(name, "the name of a note")
    wanted = checked(labels)

    def attempt() -> None:
        found = api.client.placement_groups.get_by_name(name)
        if found is None:
            raise BakehouseError(f"the note {name} is gone", "somebody else deleted it: look again")
        found.update(labels=wanted)

    api.repeat(f"change the note {name}", attempt)


def delete_note(api: Api, name: str) -> None:
    """The note is gone."""

    def attempt() -> None:
        found = api.client.placement_groups.get_by_name(name)
        if found is not None:
            found.delete()

    api.repeat(f"delete the note {name}", attempt)
