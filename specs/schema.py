"""The spec language: what may stand where, with its description, default and example.

This is the one source: Cerberus validates by it, and `specs.reference` makes the reference page,
the annotated sample and the JSON Schema from it. Defaults are quoted from `specs.model`.
Text is taken as written: `1.10`, `on` and `0755` need no quotes.
"""

from __future__ import annotations

from typing import Final, get_args

from specs import kinds, layout
from specs.model import Deploy, Event, Rebuild, Rule, Ssh, System, User
from specs.public_keys import RECIPIENT, SSH_KEY
from specs.rules import Rules, choice, flag, items, number, section, table, text, texts
from specs.schema_services import APP, BORG, CADDY, DOCKER, POSTGRES

_LINE: Final[Rules] = {"type": "string", "check_with": kinds.LINE}
_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhU7KAhV9ZcTDrIlqxHzRGDnHKdFPWBHPq3WK2tVn8x you"
_FINGERPRINT: Final = "0123456789ABCDEF0123456789ABCDEF01234567"

_REPOSITORY: Final = section(
    "A further apt repository.",
    {
        "name": text(kinds.NAME, "Its name, for file names.", required=True, example="example"),
        "uri": text(
            kinds.URL,
            "Where it is.",
            required=True,
            example="https://apt.example.org/debian",
        ),
        "suite": text(kinds.SUITE, "Its suite.", required=True, example="trixie"),
        "components": texts(kinds.COMPONENT, "Its components.", ["main"]),
        "key": text(
            kinds.RELATIVE,
            "The file of the public key that signs its index.",
            required=True,
            path=True,
            example="keys/example.asc",
        ),
        "fingerprint": text(
            kinds.FINGERPRINT,
            "That key's fingerprint; another key in the file is refused.",
            required=True,
            example=_FINGERPRINT,
        ),
    },
)

_SYSTEM: Final = section(
    "The operating system.",
    {
        "distribution": choice(["debian"], "The distribution.", System().distribution),
        "release": choice(["trixie"], "Its release.", System().release),
        "architecture": choice(["amd64"], "The machine's architecture.", System().architecture),
        "hostname": text(
            kinds.HOST,
            "The host name; the spec's name when it is not given.",
            example="hobby.example.org",
        ),
        "timezone": text(kinds.TIMEZONE, "The time zone of logs and timers.", System().timezone),
        "locale": text(kinds.LOCALE, "The system's locale.", System().locale),
        "packages": texts(kinds.PACKAGE, "Further Debian packages.", ["htop"]),
        "sysctl": table(kinds.SYSCTL, _LINE, "Kernel settings.", {"vm.swappiness": "10"}),
        "mirror": text(
            kinds.URL,
            "A mirror to lock and fetch packages from, instead of Debian's own archive. Its "
            "indexes must bear Debian's signature.",
            example="https://mirror.example.org/debian",
        ),
        "security_mirror": text(
            kinds.URL,
            "A mirror of the security archive; without it security updates come from Debian's own "
            "also when there is a `mirror`.",
            example="https://mirror.example.org/debian-security",
        ),
        "snapshot": text(
            kinds.SNAPSHOT,
            "Where to fetch locked packages that neither the cache nor the archive has any more: a "
            "URL with the fields {archive}, {date}, {path} or {sha256}.",
            example="https://snapshot.example.org/{archive}/{date}/{path}",
        ),
        "repositories": items(_REPOSITORY, "Further apt repositories."),
    },
)

_USER: Final = section(
    "An account for a person or for deploying. No account has a password.",
    {
        "authorized_keys": texts(SSH_KEY, "SSH public keys that may log in.", [_KEY]),
        "sudo": flag("May become root, without a password.", User("").sudo, example=True),
        "groups": texts(kinds.USER, "Further groups.", ["adm"]),
        "shell": text(kinds.ABSOLUTE, "The login shell.", User("").shell),
    },
)

_SSH: Final = section(
    "The SSH server: keys only, no passwords.",
    {
        "port": number(1, 65535, "The port it listens on.", Ssh().port),
        "kex": choice(
            ["hardened", "compat"],
            "`hardened` follows the ssh-audit policy for Debian 13; `compat` adds key exchanges "
            "for clients older than OpenSSH 9.9.",
            Ssh().kex,
        ),
    },
)

_RULE: Final = section(
    "A port that is open; a plain number is short for `{port: NUMBER}`.",
    {
        "port": number(1, 65535, "The port.", required=True, example=8080),
        "protocol": choice(["tcp", "udp"], "The protocol.", Rule(1).protocol),
        "sources": texts(
            kinds.NETWORK, "Networks that may connect; none means everybody.", ["192.0.2.0/24"]
        ),
    },
    shorthand="port",
)

_FIREWALL: Final = section(
    "The packet filter. The ports of ssh, of Caddy's sites and of `apps.*.publish` are open "
    "without being named here; all others are closed.",
    {"allow": items(_RULE, "Further ports to open.", [8080])},
)

_DATA: Final = section(
    "What outlives a server, all of it below /data.",
    {
        "strategy": choice(
            ["replica", "volume", "none"],
            "`replica`: the new server starts as a standby of the old one. `volume`: a block "
            "volume moves. `none`: nothing is kept. When it is not given: `replica` with "
            "Postgres, `none` without.",
            example="replica",
        ),
        "paths": texts(
            kinds.ABSOLUTE,
            "Paths below /data that are kept, beside the apps' volumes.",
            [f"{layout.DATA}/files"],
        ),
    },
)

_SOURCE: Final = section(
    "Another source of a secret than the secrets file.",
    {
        "command": {
            **texts(
                kinds.WORD,
                "A command, word by word, that prints the secret. It runs at a promote, on the "
                "machine of whoever promotes, in the spec's folder.",
                ["op", "read", "op://shop/stripe/key"],
            ),
            "required": True,
        },
    },
)

_SECRETS: Final = section(
    "How secrets are kept until they are delivered: encrypted in `<spec>.secrets.age` beside the "
    "spec, which `invoke secrets edit` makes. Nothing here changes the image.",
    {
        "recipients": texts(
            RECIPIENT,
            "Public keys, of age or SSH, whose owners can open the file. When none is given, these "
            "are the keys of the users with sudo.",
            ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
        ),
        "sources": table(
            kinds.SECRET,
            _SOURCE,
            "Secrets that come from elsewhere than the file, by name.",
            entry="stripe-key",
        ),
    },
)

_DEPLOY: Final = section(
    "Where servers run and how they are swapped. Nothing here changes the image.",
    {
        "provider": choice(
            ["local", "hetzner", "digitalocean"], "Where servers run.", Deploy().provider
        ),
        "locations": texts(kinds.OFFER, "Locations to try, in order.", ["fsn1", "nbg1"]),
        "server_types": texts(kinds.OFFER, "Server types to try, in order.", ["cx23"]),
        "image_url": text(
            kinds.IMAGE_URL,
            "Where DigitalOcean can fetch a raw image from; `{image}` stands for the image's id.",
            example="https://images.example.org/{image}.raw.gz",
        ),
        "floating_ip": text(kinds.ADDRESS, "The floating IP, by name or address.", example="web"),
        "confirm": text(
            kinds.DURATION,
            "How long a new server must be well after a swap.",
            f"{Deploy().confirm}s",
        ),
        "drain": text(kinds.DURATION, "How long old connections may go on.", f"{Deploy().drain}s"),
        "allow_disconnects": flag(
            "A swap may cut connections that cannot be paused.", Deploy().allow_disconnects
        ),
    },
)

_REBUILD: Final = section(
    "The scheduled run that brings updates (`invoke rebuild`). Nothing here changes the image.",
    {
        "policy": choice(
            ["stage", "promote"],
            "What becomes of an image that is baked and proven. `stage`: it waits for a person's "
            "`invoke promote`. `promote`: it is swapped in.",
            Rebuild().policy,
        ),
        "schedule": text(
            kinds.WHEN,
            "When the run starts, in UTC, up to an hour later (`invoke schedule` installs it).",
            Rebuild().schedule,
        ),
        "window": text(
            kinds.WINDOW,
            "When it may swap, in UTC; without it, always. What is ready outside of it waits.",
            example="Sun 02:00-06:00",
        ),
        "max_age": text(
            kinds.AGE,
            "An image that serves for longer raises an alarm at each run.",
            f"{Rebuild().max_age // 86_400}d",
        ),
    },
)

_NOTIFY: Final = section(
    "Who is told how a scheduled run ended. Nothing here changes the image.",
    {
        "urls": texts(
            kinds.NAME_OF_URL,
            "Names of secrets whose values are Apprise's URLs, for example `slack://…`, "
            "`mailto://…` or `ntfy://…`: they hold passwords, so they are in the secrets file. "
            "They never reach a server.",
            ["notify-mail"],
        ),
        "events": items(
            choice([*get_args(Event)], "An end of a run."),
            "Ends of a run that are told. When none is given: all but `nothing-to-do`.",
            ["rolled-back", "failed", "alarm"],
        ),
    },
)

SCHEMA: Final[dict[str, Rules]] = {
    "name": text(
        kinds.SERVER, "The server's name, and its images'.", required=True, example="hobby"
    ),
    "imports": texts(
        kinds.RELATIVE,
        "Files that this one builds upon; it wins over what they say.",
        ["modules/postgres-small.yaml"],
        alternative=True,
    ),
    "system": _SYSTEM,
    "users": table(
        kinds.USER,
        _USER,
        "Accounts by name. When none is given there is `deploy`, with sudo.",
        {"deploy": {"sudo": True}},
        entry="deploy",
    ),
    "ssh": _SSH,
    "firewall": _FIREWALL,
    "postgres": POSTGRES,
    "docker": DOCKER,
    "apps": table(
        kinds.NAME,
        APP,
        "Apps by name.",
        {"shop": {"archive": "shop.tar", "port": 8000}},
        entry="guestbook",
    ),
    "caddy": CADDY,
    "borg": BORG,
    "secrets": _SECRETS,
    "data": _DATA,
    "deploy": _DEPLOY,
    "rebuild": _REBUILD,
    "notify": _NOTIFY,
}
