"""The plan that a stored image was baked from, as JSON beside it, and back."""

from __future__ import annotations

import json
from dataclasses import asdict

from cattrs import BaseValidationError, Converter

from images.home import Home
from specs.errors import BakehouseError
from specs.plan import Plan


def dump(plan: Plan) -> str:
    """A plan as JSON."""
    return json.dumps(asdict(plan), indent=1, sort_keys=True) + "\n"


def load(home: Home, image_id: str) -> Plan:
    """The plan of a stored image. Raises BakehouseError when this version cannot read it."""
    path = home.images / image_id / "plan.json"
    try:
        return Converter(forbid_extra_keys=True).structure(json.loads(path.read_text()), Plan)
    except (BaseValidationError, ValueError, TypeError, OSError) as error:
        raise BakehouseError(
            f"{path}: not a plan of this version of Bakehouse ({error})",
            "bake the spec again: `invoke build-image`",
        ) from error
