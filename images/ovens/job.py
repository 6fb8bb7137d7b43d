"""What every step of one bake works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from images.home import Home
from specs.lock import Lock

if TYPE_CHECKING:  # a layer of packages is not made by what renders documents
    from images.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Job:
    """A recipe with its lock, the place for what is made, and somebody to tell lines to."""

    recipe: Recipe
    lock: Lock
    home: Home
    say: Callable[[str], None]
