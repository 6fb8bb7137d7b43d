"""Kinds of values that a spec may hold: what is right, how it is said when it is not.

A `Kind` serves three readers: Cerberus calls it (`check_with`), the reference page prints its
description, and the JSON Schema for editors takes its pattern.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cerberus.errors import CUSTOM

from specs import timing


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value is refused. `show` is off for values that must not be repeated in a log."""

    message: str
    hint: str = ""
    show: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of text. `pattern` must match the whole value; `check` sees only what matched.

    `what` completes the sentence "must be …"; `hint` says what to do. `show` is off for a kind in
    whose place a person may put a secret by mistake.
    """

    what: str
    pattern: str = ""
    hint: str = ""
    check: Callable[[str], Fault | None] | None = None
    show: bool = True

    def fault(self, value: str) -> Fault | None:
        """What is wrong with `value`, or None."""
        if self.pattern and not re.fullmatch(self.pattern, value):
            return Fault(f"must be {self.what}", self.hint, self.show)
        return self.check(value) if self.check else None

    def __call__(self, field: str, value: Any, error: Callable[..., None]) -> None:
        """Cerberus's `check_with` protocol."""
        found = self.fault(value) if isinstance(value, str) else None
        if found:
            error(field, CUSTOM, found)


def _network(value: str) -> Fault | None:
    if "%" in value:  # a zone, which `ipaddress` takes with any text in it
        return Fault("has a zone", "name the network without what follows %")
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        if "host bits" in str(error):
            network = ipaddress.ip_network(value, strict=False)
            return Fault("has bits set to the right of its prefix", f"write {network}")
        return Fault("must be a network in CIDR notation", "for example 192.0.2.0/24")
    return None


def _private_network(value: str) -> Fault | None:
    fault = _network(value)
    if fault:
        return fault
    network = ipaddress.ip_network(value)
    if network.version != 4 or not network.is_private or network.prefixlen > 16:
        return Fault("must be a private IPv4 network of /16 or larger", "for example 172.30.0.0/16")
    return None


SNAPSHOT_FIELDS: Final = ("archive", "date", "path", "sha256")
"""What a snapshot URL pattern may hold: the archive's name in the lock, the date of the lock's
archive state (`20260131T120000Z`), the package's path below the archive, its digest."""


def _snapshot(value: str) -> Fault | None:
    fields = re.findall(r"[{]([^{}]*)[}]", value)
    unknown = [field for field in fields if field not in SNAPSHOT_FIELDS]
    if unknown:
        known = ", ".join(f"{{{field}}}" for field in SNAPSHOT_FIELDS)
        return Fault(f"has the unknown field {{{unknown[0]}}}", f"the fields are {known}")
    if not {"path", "sha256"} & set(fields):
        return Fault("would be the same URL for every package", "put {path} or {sha256} into it")
    return None


def _site(value: str) -> Fault | None:
    if "*." in value:
        return Fault(
            "is a wildcard, whose certificate needs access to your DNS",
            "name each host, in `aliases` where they serve the same",
        )
    if re.fullmatch(r"[0-9.]+", value):
        return Fault("is an IP address, which gets no certificate", f"write http://{value}")
    return None


def _repository(value: str) -> Fault | None:
    if re.match(r"ssh://[^/]*:[^/]*@", value):
        return Fault("holds a password", "use an SSH key for the repository", show=False)
    return None


def _no_secret(value: str) -> Fault | None:
    if "PRIVATE KEY-----" in value:
        return Fault("is a private key", "name it in `secrets`; nothing here is secret", show=False)
    return None


def _header_value(value: str) -> Fault | None:
    for token in ("\\", "{$"):  # inside quotes they still end a token or name a variable
        if token in value:
            return Fault(f"holds {token}", "a Caddyfile has no way to write it")
    return None


def _relative(value: str) -> Fault | None:
    if "\\" in value:
        return Fault("holds a backslash", "write / between folders")
    return None


_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"(?=.{{1,253}}(?:$|[/:])){_LABEL}(?:\.{_LABEL})*"
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f"
_URL_REST: Final = rf"(?::[0-9]{{1,5}})?(?:[/?#][^\s{_CONTROL}\"'`{{}}<>\\^|]*)?"
_TIME: Final = r"[0-9*/.,]{1,40}:[0-9*/.,]{1,40}(?::[0-9*/.,]{1,40})?"
_DATE: Final = r"[0-9*/.,]{1,40}-[0-9*/.,~]{1,40}(?:[-~][0-9*/.,]{1,40})?"
_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)"
_DAYS: Final = rf"{_DAY}(?:(?:\.\.|,){_DAY}){{0,6}}"
_ZONE: Final = r"(?:UTC|[A-Z][A-Za-z_]+(?:/[A-Z][A-Za-z_+-]+){1,2})"
_WORD: Final = "minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually"

SERVER = Kind(
    "a name of small letters, digits and dashes, 32 characters at most",
    r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?",
    "it becomes the host name and part of the image's name",
)
NAME = Kind(
    "a name of small letters, digits and dashes, 40 characters at most",
    r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?",
    "start with a letter and end with a letter or digit",
)
USER = Kind(
    "a user name of small letters, digits, _ and -, 32 characters at most",
    r"[a-z_][a-z0-9_-]{0,31}",
    "start with a letter",
)
DATABASE = Kind(
    "a name of small letters, digits and _, 63 characters at most",
    r"[a-z_][a-z0-9_]{0,62}",
    "others would need quotes in every query",
)
EXTENSION = Kind(
    "the name of a Postgres extension", r"[a-z][a-z0-9_-]{0,62}", "for example pg_trgm"
)
SETTING = Kind(
    "the name of a Postgres setting", r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)?", "for example work_mem"
)
HOST = Kind(
    "a host name in small letters, 64 characters at most",
    rf"(?=.{{1,64}}$){_HOST}",
    "for example db.example.org",
)
SITE = Kind(
    "a host name in small letters, http:// and a host name, or :80",
    rf"(?:http://)?(?:\*\.)?{_HOST}|:80",
    "https is automatic and not written",
    _site,
)
_EMAIL_PART: Final = rf"[^\s{_CONTROL}@\"'`{{}}\\]+"
EMAIL = Kind(
    "an e-mail address",
    rf"{_EMAIL_PART}@{_EMAIL_PART}\.{_EMAIL_PART}",
    "for example you@example.org",
)
URL = Kind(
    "an http or https URL", rf"https?://{_HOST}{_URL_REST}", "for example https://example.org/"
)
SNAPSHOT = Kind(
    "an http or https URL with fields in braces",
    rf"https?://{_HOST}(?::[0-9]{{1,5}})?/(?:[^\s{_CONTROL}\"'`{{}}<>\\^|]|[{{][a-z0-9]+[}}])*",
    "for example https://snapshot.example.org/{archive}/{date}/{path}",
    _snapshot,
)
NETWORK = Kind("a network in CIDR notation", check=_network)
SUBNET = Kind("a private IPv4 network of /16 or larger", check=_private_network)
CALENDAR = Kind(
    "a systemd calendar expression",
    rf"(?:{_WORD})|(?:{_DAYS} )?(?:{_DATE} )?{_TIME}(?: {_ZONE})?|(?:{_DAYS} )?{_DATE}|{_DAYS}",
    'for example "*-*-* 03:00:00" or "Sun 05:00"; `man systemd.time` has the rules',
)
WHEN = Kind(
    "a time of day, with or without weekdays before it",
    timing.WHEN,
    "for example Sun 03:00, or Mon,Thu 22:30; in UTC",
)
WINDOW = Kind(
    "a span of the day, with or without weekdays before it",
    timing.WINDOW,
    "for example Sun 02:00-05:00; in UTC",
)
AGE = Kind("a time in days or weeks", r"[1-9][0-9]{0,3}[dw]", "for example 30d or 6w")
SIZE = Kind("a size in k, m or g", r"[1-9][0-9]{0,8}[kmg]", "for example 512m")
DURATION = Kind("a time in s, m or h, or seconds", r"[0-9]{1,6}[smh]?", "for example 90, 90s or 2m")
IMAGE = Kind(
    "an image with its digest, name@sha256:<64 hex digits>",
    r"[a-z0-9][a-z0-9._-]*(?::[0-9]+)?(?:/[a-z0-9][a-z0-9._-]*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?@sha256:[0-9a-f]{64}",
    "a tag alone can change under you; `docker buildx imagetools inspect NAME` shows the digest",
)
VARIABLE = Kind(
    "the name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]*", "for example LOG_LEVEL"
)
VALUE = Kind("text without NUL bytes", r"[^\x00]*", check=_no_secret)
LINE = Kind("one line of text", rf"[^{_CONTROL}]*", "leave out line breaks and control characters")
HEADER_VALUE = Kind(LINE.what, LINE.pattern, LINE.hint, _header_value)
WORD = Kind("a word without NUL bytes, not empty", r"[^\x00]+")
ABSOLUTE = Kind(
    "an absolute path without '.', '..' or ':' in it",
    rf"(?:/(?!\.{{1,2}}(?:/|$))[^{_CONTROL}/:]+)+",
    "for example /data/uploads",
)
PATTERN = Kind("a pattern as `borg help patterns` describes", rf"[^{_CONTROL}]+")
RELATIVE = Kind(
    "a path relative to the file that names it",
    rf"(?!/|~)[^{_CONTROL}]+",
    "absolute paths would mean something else on another machine",
    _relative,
)
SYSCTL = Kind("a sysctl key", r"[a-z0-9_-]+(?:[./][A-Za-z0-9_-]+)+", "for example vm.swappiness")
TIMEZONE = Kind(
    "a time zone's name",
    r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Z][A-Za-z0-9_+-]*){0,2}",
    "for example Europe/Berlin",
)
LOCALE = Kind(
    "a UTF-8 locale", r"(?:C|[a-z]{2,3}_[A-Z]{2})\.UTF-8", "for example C.UTF-8 or de_DE.UTF-8"
)
PACKAGE = Kind(
    "the name of a Debian package",
    r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]",
    "versions are the lock's business, not the spec's",
)
FINGERPRINT = Kind(
    "a key's fingerprint, 40 hex digits in capitals",
    r"[0-9A-F]{40}",
    "without spaces, as `gpg --show-keys` prints it",
)
SUITE = Kind("an archive's suite", r"[A-Za-z0-9][A-Za-z0-9._/-]*", "for example trixie")
COMPONENT = Kind("an archive's component", r"[a-z0-9][a-z0-9./-]*", "for example main")
SECRET = Kind(
    "a secret's name of letters, digits, _ . and -",
    r"(?!bakehouse\.)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
    "names that start with `bakehouse.` are for its own keys",
)
NAME_OF_URL = Kind(
    "the name of a secret, not the URL itself",
    SECRET.pattern,
    "write the URL into the secrets file, under a name: `invoke secrets edit`",
    show=False,
)
HEADER = Kind(
    "the name of an HTTP header", r"[A-Za-z0-9][A-Za-z0-9-]*", "for example X-Frame-Options"
)
ACCOUNT = Kind(
    "a user of the container, by number or name",
    r"(?:[0-9]{1,9}|[a-z_][a-z0-9_-]{0,31})(?::(?:[0-9]{1,9}|[a-z_][a-z0-9_-]{0,31}))?",
    "for example 1000:1000",
)
_PLAIN: Final = rf"\s{_CONTROL}\"'\\$`"
_SSH_WORD: Final = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"
"""`ssh` would read a leading dash as an option."""

BORG = Kind(
    "a Borg repository",
    rf"ssh://(?:[^-{_PLAIN}/@][^{_PLAIN}/@]*@)?(?!-)[^{_PLAIN}/@]+/[^{_PLAIN}]+|/[^{_PLAIN}:]+"
    rf"|{_SSH_WORD}@{_SSH_WORD}:[^{_PLAIN}]+",
    "for example ssh://u1@u1.example.org:23/./backups, or /mnt/backups",
    _repository,
)
OFFER = Kind(
    "a name as the provider writes it",
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
    "for example fsn1 or cpx22",
)
IMAGE_URL = Kind(
    "an https URL that has {image} in it",
    rf"https://[^{_PLAIN}/]+/[^{_PLAIN}]*\{{image\}}[^{_PLAIN}]*",
    "by http anyone on the way could put another image there; "
    "for example https://images.example.org/{image}.raw.gz",
)
ADDRESS = Kind("a name or an address", r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,62}", "for example web-ip")
