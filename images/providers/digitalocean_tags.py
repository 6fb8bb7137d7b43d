"""Labels as DigitalOcean's tags.

A tag is a word of letters, digits, `:`, `-` and `_`, 255 at most, whose case does not count (the
API's reference, "Tags"). A thing of ours carries `bakehouse:spec:<spec>`, which never changes and
by which it is listed, and one tag with all its labels and a number:

    bakehouse:v3:5f0c:generation:2:role:active:spec:hobby

Labels are changed by adding the tag with the next number: one call, so whoever reads meanwhile sees
all of the old labels or all of the new ones. The random part makes it this thing's own tag, which
can be deleted with it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from images.providers.base import SPEC
from specs.errors import UsageError

PREFIX: Final = "bakehouse"
LONGEST: Final = 255
LABELS: Final = re.compile(rf"{PREFIX}:v([0-9]+):([0-9a-f]+)((?::[a-z0-9_-]*:[a-z0-9_-]*)*)")


def spec_tag(spec: str) -> str:
    """The tag by which everything of a spec is listed."""
    return f"{PREFIX}:spec:{encoded(spec)}"


def labels_tag(labels: Mapping[str, str], number: int, mark: str = "") -> str:
    """The tag with all labels. Raises UsageError when they are too long for one."""
    words = [word for key in sorted(labels) for word in (encoded(key), encoded(labels[key]))]
    tag = ":".join([PREFIX, f"v{number}", mark or secrets.token_hex(4), *words])
    if len(tag) > LONGEST:
        raise UsageError(
            f"these labels have {len(tag)} characters as a tag, {LONGEST} are possible: {labels}",
            "use a shorter name of the spec",
        )
    return tag


def tags(labels: Mapping[str, str], mark: str = "") -> list[str]:
    """All tags of a new thing."""
    first = [spec_tag(labels[SPEC])] if SPEC in labels else []
    return [*first, labels_tag(labels, 1, mark)]


def labels(found: Iterable[str]) -> dict[str, str]:
    """The newest labels among a thing's tags; none when it is not ours."""
    newest = max(((number, mark, words) for number, mark, words in _ours(found)), default=None)
    if newest is None:
        return {}
    words = [decoded(word) for word in newest[2].split(":")[1:]]
    return dict(zip(words[::2], words[1::2], strict=True))


def number(found: Iterable[str]) -> int:
    """The largest number among a thing's tags with labels; 0 when there is none."""
    return max((number for number, _, _ in _ours(found)), default=0)


def own(found: Iterable[str]) -> list[str]:
    """The tags with labels: nothing else carries them."""
    return [tag for tag in found if LABELS.fullmatch(tag)]


def _ours(found: Iterable[str]) -> Iterable[tuple[int, str, str]]:
    for tag in found:
        if match := LABELS.fullmatch(tag):
            yield int(match[1]), match[2], match[3]


def encoded(word: str) -> str:
    """A label's word in the alphabet of tags."""
    return re.sub(r"[._A-Z]", lambda m: {".": "_0", "_": "__"}.get(m[0], f"_{m[0].lower()}"), word)


def decoded(word: str) -> str:
    """The word that `encoded` wrote."""
    return re.sub(r"_(.)", lambda m: {"0": ".", "_": "_"}.get(m[1], m[1].upper()), word)
