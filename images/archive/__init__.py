"""Debian's archives: `make_lock` reads their indexes, `fetch` brings locked packages by digest.

`sources` says which archives and whose keys, `indexes` what may be believed, `resolve` what apt
chooses, `scope` how far an update goes; the cache is `cache`. apt itself does the asking, in a
private root.
"""

from images.archive.apt import HELPER as APT_HELPER
from images.archive.cache import cached
from images.archive.fetch import fetch
from images.archive.make import make_lock
from images.archive.scope import AS_LOCKED, EVERYTHING, Scope
from images.archive.scope import parse as parse_scope

__all__ = [
    "APT_HELPER",
    "AS_LOCKED",
    "EVERYTHING",
    "Scope",
    "cached",
    "fetch",
    "make_lock",
    "parse_scope",
]
