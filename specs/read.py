"""From a path to a valid `Spec`: the entrance that everything else uses."""

from __future__ import annotations

from pathlib import Path

from specs.errors import Problem, SpecError
from specs.facts import named
from specs.merge import read_tree
from specs.model import Spec
from specs.shape import dotted, place
from specs.validate import validate


def read(path: Path) -> Spec:
    """The spec in the file `path`, with all that it imports; what it names is there.

    Reads only. Raises SpecError with every problem, UsageError when there is no such file.
    """
    tree = read_tree(path)
    spec = validate(tree, path.parent)
    problems = []
    for source in named(spec):
        wrong = source.missing(path.parent)
        if wrong:
            spot = place(tree, source.key)
            problems.append(Problem(spot, dotted(source.key), *wrong))
    if problems:
        raise SpecError(tuple(problems))
    return spec
