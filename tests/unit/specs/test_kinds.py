"""Kinds of values: what they take and what they refuse, beyond the golden cases."""

from __future__ import annotations

import base64

import pytest

from specs import kinds
from specs.kinds import Kind
from specs.public_keys import RECIPIENT, SSH_KEY


def _wire(*fields: bytes) -> str:
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return base64.b64encode(blob).decode()


ED25519 = f"ssh-ed25519 {_wire(b'ssh-ed25519', bytes(32))} you@laptop"
AGE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
RSA_4096 = f"ssh-rsa {_wire(b'ssh-rsa', bytes([1, 0, 1]), bytes([0, 255]) + bytes(511))}"

GOOD: list[tuple[Kind, list[str]]] = [
    (kinds.SERVER, ["web", "web-2", "a" * 32]),
    (kinds.USER, ["jane", "_svc", "jane_doe-2"]),
    (kinds.DATABASE, ["shop", "_x", "a" * 63]),
    (
        kinds.SITE,
        ["example.org", "http://intern", ":80", "http://192.0.2.1", "xn--ksekuchen-u2a.de"],
    ),
    (kinds.NETWORK, ["192.0.2.7", "0.0.0.0/0", "2001:db8::/32"]),
    (kinds.SUBNET, ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12"]),
    (
        kinds.CALENDAR,
        [
            *("daily", "*-*-* 03:00:00", "03:30", "*:0/15", "Mon..Fri 22:30", "Sat,Sun 10:00"),
            *("*-*-01", "2027-01-01 00:00", "Sunday *-*-* 05:00:00 UTC", "*-*~03 04:00"),
            *("Mon *-*-* 01:00 Europe/Berlin", "*-02..06-10 12:00:00"),
        ],
    ),
    (kinds.SIZE, ["1g", "512m", "64k"]),
    (kinds.DURATION, ["90", "2m", "0"]),
    (kinds.IMAGE_URL, ["https://h/{image}.raw.gz", "https://h:8443/a/{image}.raw?b=c"]),
    (kinds.IMAGE, [f"debian@sha256:{'0' * 64}", f"h:5000/a/b_c:1.2-x@sha256:{'f' * 64}"]),
    (kinds.ABSOLUTE, ["/data", "/data/a b", "/a/..b/.c"]),
    (kinds.RELATIVE, ["site", "../site", "./a/b.tar"]),
    (kinds.SYSCTL, ["vm.swappiness", "net.ipv4.conf.all.rp_filter", "net/ipv4/ip_forward"]),
    (kinds.TIMEZONE, ["Etc/UTC", "UTC", "America/Port-au-Prince", "Etc/GMT+1"]),
    (kinds.PACKAGE, ["g++", "libstdc++6", "python3.13", "7zip"]),
    (kinds.ACCOUNT, ["1000", "1000:1000", "www-data:www-data"]),
    (
        kinds.BORG,
        ["ssh://u@h:23/./x", "/mnt/x", "u@h:x/y", "ssh://h/~/x"],
    ),
    (kinds.URL, ["https://example.org", "http://h:8080/a?b=c#d", "https://example.org/%20"]),
    (SSH_KEY, [ED25519, RSA_4096, f"{ED25519}\n"]),
    (RECIPIENT, [ED25519, RSA_4096, AGE]),
    (kinds.HEADER, ["X-Frame-Options", "dnt"]),
    (kinds.HEADER_VALUE, ["", "DENY", "default-src 'self'; report-to \"x\"", '{"group":"csp"}']),
]

BAD: list[tuple[Kind, list[str]]] = [
    (kinds.SERVER, ["", "-web", "web-", "wéb", "web\n", "1web"]),
    (kinds.USER, ["", "1jane", "jane.doe", "a" * 33]),
    (
        kinds.SITE,
        ["", "-a.org", "a..org", "a_b.org", "example.org/x", "x:443", "http://", "a" * 64],
    ),
    (kinds.NETWORK, ["", "192.0.2.0/33", "::/129", "192.0.2"]),
    (kinds.SUBNET, ["10.0.0.0/24", "fd00::/8", "100.64.0.0/10"]),
    (kinds.CALENDAR, ["", "never", "25h", "*-*-* 3", "Mon-Fri 10:00", "0 3 * * *", "daily\n"]),
    (kinds.SIZE, ["0m", "1.5g", "512", "512 m"]),
    (kinds.DURATION, ["-1", "1.5m", "1d"]),
    (kinds.IMAGE_URL, ["http://h/{image}.raw", "https://h/image.raw", "https://{image}"]),
    (kinds.IMAGE, ["debian", "debian:13", f"Debian@sha256:{'0' * 64}", "x@sha256:00"]),
    (kinds.ABSOLUTE, ["", "/", "data", "/a//b", "/a/..", "/a/./b", "/a\nb"]),
    (kinds.RELATIVE, ["", "/a", "~/a", "a\0b"]),
    (kinds.SYSCTL, ["vm", "vm.", "vm swappiness", "vm.x=1"]),
    (kinds.FINGERPRINT, ["a" * 40, "A" * 39, "0x" + "A" * 38]),
    (kinds.URL, ["example.org", "ftp://x", "https://", "https://a b", "https://x/{uri}"]),
    (kinds.BORG, ["", "backups", "ssh://", "u@h:", "ssh://u:p@h/x"]),
    (RECIPIENT, ["", " ", "age1short", AGE.upper(), f"{AGE}x", f"{AGE}\n", "ssh-ed25519"]),
    (SSH_KEY, ["", "ssh-ed25519", f"ssh-rsa {_wire(b'ssh-ed25519', bytes(32))}"]),
    (SSH_KEY, [f"ssh-ed25519 {_wire(b'ssh-ed25519', bytes(31))}", f"{ED25519}\n{ED25519}"]),
    (kinds.VALUE, ["a\0b"]),
]

HOSTILE: list[tuple[Kind, list[str]]] = [
    (kinds.NETWORK, ["fe80::%x } ; flush ruleset ; #/64", "fe80::1%eth0", "::1%a\nb/128"]),
    (kinds.HEADER_VALUE, ['\\" "x', "ends with \\", "{$HOME}", "a\nb"]),
    (kinds.HEADER, ["-Server", "", "X_Y", "a b"]),
    (kinds.EMAIL, ["a@b.\\", "a`@b.c", "a\x00@b.c"]),
    (kinds.URL, ["https://h/\x00", "https://h/\x1b[2J", "https://h/\x7f"]),
    (kinds.BORG, ["ssh://-oProxyCommand=x/y", "-oProxyCommand=x@h:y", "/mnt/\x00", "u@-h:x"]),
    (kinds.BORG, ["ssh://u@-h/x"]),
    (kinds.RELATIVE, ["site\\public"]),
    (kinds.PACKAGE, ["bash-"]),
    (SSH_KEY, [f"{ED25519}\0", f"{ED25519}\r{ED25519}", f"\x0b{ED25519}"]),
]
"""What would mean something else in the file that it ends up in."""


def _flat(cases: list[tuple[Kind, list[str]]]) -> list[tuple[Kind, str]]:
    return [(kind, value) for kind, values in cases for value in values]


@pytest.mark.parametrize(("kind", "value"), _flat(GOOD), ids=lambda part: str(part)[:30])
def test_good_values_pass(kind: Kind, value: str) -> None:
    assert kind.fault(value) is None


@pytest.mark.parametrize(("kind", "value"), _flat(BAD + HOSTILE), ids=lambda part: str(part)[:30])
def test_bad_values_are_refused(kind: Kind, value: str) -> None:
    assert kind.fault(value) is not None


@pytest.mark.parametrize(
    "value",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_private_key_is_never_repeated(value: str) -> None:
    fault = SSH_KEY.fault(value)
    assert fault is not None
    assert not fault.show


def test_rsa_keys_need_3072_bits() -> None:
    for bits, good in ((2048, False), (3071, False), (3072, True), (4096, True)):
        number = 1 << (bits - 1)
        size = bits // 8 + 1
        key = f"ssh-rsa {_wire(b'ssh-rsa', bytes([1, 0, 1]), number.to_bytes(size, 'big'))}"
        assert (SSH_KEY.fault(key) is None) is good
