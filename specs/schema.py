"""The spec language: what may stand where, with its description, default and example.

This is the one source: Cerberus validates by it, and `specs.reference` makes the reference page,
the annotated sample and the JSON Schema from it. Defaults are quoted from `specs.model`.
Text is taken as written: `1.10`, `on` and `0755` need no quotes.
"""

from __future__ import annotations

from typing import Any, Final

from specs import kinds, layout
from specs.kinds import Kind
from specs.model import (
    Borg,
    Caddy,
    Deploy,
    Docker,
    Keep,
    Postgres,
    Publish,
    Rule,
    Site,
    Ssh,
    System,
    User,
)

Rules = dict[str, Any]


def _meta(description: str, default: Any = None, example: Any = None, **more: Any) -> Rules:
    found = {"description": description, "default": default, "example": example, **more}
    return {key: value for key, value in found.items() if value is not None}


def _text(kind: Kind, description: str, default: str | None = None, **more: Any) -> Rules:
    rules: Rules = {"type": "string", "check_with": kind}
    if more.pop("required", False):
        rules["required"] = True
    return {**rules, "meta": _meta(description, default, **more)}


def _number(
    low: int, high: int, description: str, default: int | None = None, **more: Any
) -> Rules:
    rules: Rules = {"type": "integer", "min": low, "max": high}
    if more.pop("required", False):
        rules["required"] = True
    return {**rules, "meta": _meta(description, default, **more)}


def _flag(description: str, default: bool) -> Rules:
    return {"type": "boolean", "meta": _meta(description, default)}


def _choice(allowed: list[Any], description: str, default: Any) -> Rules:
    kind = "integer" if isinstance(allowed[0], int) else "string"
    return {"type": kind, "allowed": allowed, "meta": _meta(description, default)}


def _list(items: Rules, description: str, example: Any = None) -> Rules:
    return {"type": "list", "schema": items, "meta": _meta(description, example=example)}


def _texts(kind: Kind, description: str, example: Any = None) -> Rules:
    return _list({"type": "string", "check_with": kind}, description, example)


def _table(keys: Kind, values: Rules, description: str, example: Any = None) -> Rules:
    """A mapping whose keys the spec's author chooses."""
    return {
        "type": "dict",
        "keysrules": {"type": "string", "check_with": keys},
        "valuesrules": values,
        "meta": _meta(description, example=example),
    }


def _section(description: str, fields: dict[str, Rules], **more: Any) -> Rules:
    return {"type": "dict", "schema": fields, "meta": _meta(description, **more)}


_VALUE: Final[Rules] = {"type": "string", "check_with": kinds.VALUE}
_LINE: Final[Rules] = {"type": "string", "check_with": kinds.LINE}
_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhU7KAhV9ZcTDrIlqxHzRGDnHKdFPWBHPq3WK2tVn8x you"
_FINGERPRINT: Final = "0123456789ABCDEF0123456789ABCDEF01234567"

_REPOSITORY: Final = _section(
    "A further apt repository.",
    {
        "name": _text(kinds.NAME, "Its name, for file names.", required=True, example="example"),
        "uri": _text(
            kinds.URL,
            "Where it is.",
            required=True,
            example="https://apt.example.org/debian",
        ),
        "suite": _text(kinds.SUITE, "Its suite.", required=True, example="trixie"),
        "components": _texts(kinds.COMPONENT, "Its components.", ["main"]),
        "key": _text(
            kinds.RELATIVE,
            "The file of the public key that signs its index.",
            required=True,
            path=True,
            example="keys/example.asc",
        ),
        "fingerprint": _text(
            kinds.FINGERPRINT,
            "That key's fingerprint; another key in the file is refused.",
            required=True,
            example=_FINGERPRINT,
        ),
    },
)

_SYSTEM: Final = _section(
    "The operating system.",
    {
        "distribution": _choice(["debian"], "The distribution.", System().distribution),
        "release": _choice(["trixie"], "Its release.", System().release),
        "architecture": _choice(["amd64"], "The machine's architecture.", System().architecture),
        "hostname": _text(kinds.HOST, "The host name; the spec's name when it is not given."),
        "timezone": _text(kinds.TIMEZONE, "The time zone of logs and timers.", System().timezone),
        "locale": _text(kinds.LOCALE, "The system's locale.", System().locale),
        "packages": _texts(kinds.PACKAGE, "Further Debian packages.", ["htop"]),
        "sysctl": _table(kinds.SYSCTL, _LINE, "Kernel settings.", {"vm.swappiness": "10"}),
        "mirror": _text(
            kinds.URL,
            "The archive to lock and fetch packages from; the distribution's default when it is "
            "not given.",
        ),
        "repositories": _list(_REPOSITORY, "Further apt repositories."),
    },
)

_USER: Final = _section(
    "An account for a person or for deploying. No account has a password.",
    {
        "authorized_keys": _texts(kinds.SSH_KEY, "SSH public keys that may log in.", [_KEY]),
        "sudo": _flag("May become root, without a password.", User("").sudo),
        "groups": _texts(kinds.USER, "Further groups.", ["adm"]),
        "shell": _text(kinds.ABSOLUTE, "The login shell.", User("").shell),
    },
)

_SSH: Final = _section(
    "The SSH server: keys only, root only by key of the first boot.",
    {
        "port": _number(1, 65535, "The port it listens on.", Ssh().port),
        "kex": _choice(
            ["hardened", "compat"],
            "`hardened` follows the ssh-audit policy for Debian 13; `compat` adds key exchanges "
            "for clients older than OpenSSH 9.9.",
            Ssh().kex,
        ),
    },
)

_RULE: Final = _section(
    "A port that is open; a plain number is short for `{port: NUMBER}`.",
    {
        "port": _number(1, 65535, "The port.", required=True, example=8080),
        "protocol": _choice(["tcp", "udp"], "The protocol.", Rule(1).protocol),
        "sources": _texts(
            kinds.NETWORK, "Networks that may connect; none means everybody.", ["192.0.2.0/24"]
        ),
    },
    shorthand="port",
)

_FIREWALL: Final = _section(
    "The packet filter. The ports of ssh, of Caddy's sites and of `apps.*.publish` are open "
    "without being named here; all others are closed.",
    {"allow": _list(_RULE, "Further ports to open.", [8080])},
)

_DATABASE: Final = _section(
    "A database. Its owner's password is made on the first primary and never leaves the data.",
    {
        "owner": _text(
            kinds.DATABASE, "The role that owns it; the database's name when it is not given."
        ),
        "extensions": _texts(kinds.EXTENSION, "Extensions to create in it.", ["pg_trgm"]),
    },
)

_POSTGRES: Final = _section(
    "A Postgres cluster with PgBouncer in front of it. Nothing outside of the server reaches it.",
    {
        "version": _choice([17], "The major version.", Postgres().version),
        "databases": _table(
            kinds.DATABASE,
            _DATABASE,
            "Databases by name. An app's `database` must be one of them: a typing error would "
            "otherwise start with an empty database.",
            {"guestbook": {}},
        ),
        "settings": _table(
            kinds.SETTING, _LINE, "Settings for postgresql.conf.", {"shared_buffers": "512MB"}
        ),
        "pooling": _choice(
            ["transaction", "session", "none"],
            "How PgBouncer lends connections. `transaction` is the default: a client may then "
            "keep no session state (advisory locks, LISTEN, SET). With `session` each client "
            "holds a connection, so that fewer fit and a swap waits for them to leave. With "
            "`none` apps connect straight to Postgres, and each swap cuts their connections.",
            Postgres().pooling,
        ),
        "pool_size": _number(
            1, 1000, "Connections to Postgres per database and role.", Postgres().pool_size
        ),
        "max_clients": _number(
            1, 100_000, "Clients that PgBouncer admits at once.", Postgres().max_clients
        ),
    },
)

_DOCKER: Final = _section(
    "Docker; it is there whenever there are apps.",
    {
        "log_size": _text(
            kinds.SIZE, "Size at which a container's log is rotated.", Docker().log_size
        ),
        "log_files": _number(1, 100, "Logs kept of each container.", Docker().log_files),
        "subnet": _text(
            kinds.SUBNET,
            "A private network, split into one /24 for each app. More than 255 apps get "
            "10.128.0.0/12 when it is not given.",
            Docker().subnet,
        ),
    },
)

_BUILD: Final = _section(
    "Makes a container image from Debian packages and a folder, without Dockerfile or registry.",
    {
        "packages": _texts(kinds.PACKAGE, "Debian packages in the image.", ["python3-psycopg"]),
        "folder": _text(
            kinds.RELATIVE,
            "A folder beside the spec that is copied to /app.",
            path=True,
            example="guestbook",
        ),
    },
)

_PUBLISH: Final = _section(
    "A port of the container for the outside, for protocols that Caddy does not speak. A plain "
    "number is short for `{port: NUMBER}`.",
    {
        "port": _number(1, 65535, "The server's port.", required=True, example=25565),
        "target": _number(1, 65535, "The container's port; `port` when it is not given."),
        "protocol": _choice(["tcp", "udp"], "The protocol.", Publish(1, 1).protocol),
    },
    shorthand="port",
)

_APP: Final = _section(
    "A service in containers. Its image is exactly one of `image`, `archive`, `build`.",
    {
        "image": _text(
            kinds.IMAGE,
            "An image of a registry, by digest.",
            example=f"ghcr.io/example/shop@sha256:{'0' * 64}",
        ),
        "archive": _text(
            kinds.RELATIVE, "An OCI archive beside the spec.", path=True, example="shop.tar"
        ),
        "build": _BUILD,
        "command": _texts(
            kinds.WORD,
            "The command, word by word; the image's own when it is not given.",
            ["python3", "server.py"],
        ),
        "kind": _choice(
            ["web", "worker"],
            "A `web` app may run on two servers at once while they swap. A `worker` (also a "
            "scheduler or a bot) never does.",
            "web",
        ),
        "replicas": _number(1, layout.MAX_REPLICAS, "Containers that run side by side.", 1),
        "port": _number(1, 65535, "The port it listens on for HTTP.", example=8000),
        "health": _text(
            Kind("a path on the app", r"/[^\s\"'`{}\\]*", "for example /healthz"),
            "A path that answers 2xx when the app is well.",
            example="/healthz",
        ),
        "environment": _table(
            kinds.VARIABLE, _VALUE, "Environment variables, none of them secret.", {"DEBUG": "0"}
        ),
        "database": _text(
            kinds.DATABASE,
            "One of `postgres.databases`; the app finds `DATABASE_URL` in its environment.",
            example="guestbook",
        ),
        "volumes": _table(
            kinds.NAME,
            {"type": "string", "check_with": kinds.ABSOLUTE},
            "Folders that outlive servers: a name, and the path in the container.",
            {"uploads": "/data/uploads"},
        ),
        "secrets": _texts(
            kinds.SECRET, "Secrets, each a file below /run/secrets in the container.", ["api-key"]
        ),
        "publish": _list(_PUBLISH, "Ports for the outside.", [25565]),
        "memory": _text(kinds.SIZE, "The most memory a container may take.", example="512m"),
        "user": _text(
            kinds.ACCOUNT, "Who runs it in the container; the image's own when it is not given."
        ),
        "read_only": _flag("The container's own files cannot be changed.", False),
    },
)

_SITE: Final = _section(
    "A site: exactly one of `app`, `static`, `redirect`.",
    {
        "aliases": _texts(
            kinds.SITE, "Further addresses that serve the same.", ["www.example.org"]
        ),
        "app": _text(kinds.NAME, "The app that answers, over its replicas.", example="guestbook"),
        "static": _text(
            kinds.RELATIVE, "A folder beside the spec to serve.", path=True, example="site"
        ),
        "redirect": _text(kinds.URL, "Where to send visitors.", example="https://example.org"),
        "compress": _flag("Answers are compressed (zstd, gzip).", Site("").compress),
        "headers": _table(
            kinds.HEADER, _LINE, "Headers added to answers.", {"X-Frame-Options": "DENY"}
        ),
    },
)

_CADDY: Final = _section(
    "The web server. HTTPS and its certificates are automatic for sites with a host name.",
    {
        "email": _text(kinds.EMAIL, "Whom the CA may write to.", example="you@example.org"),
        "acme_directory": _text(kinds.URL, "Another CA's ACME directory.", Caddy().acme_directory),
        "acme_root": _text(
            kinds.RELATIVE,
            "A PEM file with the root certificate of that CA.",
            Caddy().acme_root,
            path=True,
        ),
        "sites": _table(
            kinds.SITE,
            _SITE,
            "Sites by address: a host name (HTTPS), `http://` and a host name, or `:80` for "
            "whatever name is asked for.",
            {"example.org": {"app": "guestbook"}},
        ),
    },
)

_KEEP: Final = _section(
    "How many archives are kept.",
    {
        "daily": _number(0, 10_000, "Of the last days.", Keep().daily),
        "weekly": _number(0, 10_000, "Of the last weeks.", Keep().weekly),
        "monthly": _number(0, 10_000, "Of the last months.", Keep().monthly),
    },
)

_BORG: Final = _section(
    "Backups: a dump of every database, the apps' volumes and `data.paths`, encrypted.",
    {
        "repository": _text(
            kinds.BORG,
            "Where archives go.",
            required=True,
            example="ssh://u1@u1.example.org:23/./backups",
        ),
        "schedule": _text(kinds.CALENDAR, "When archives are made.", Borg("").schedule),
        "check": _text(kinds.CALENDAR, "When the repository is checked.", Borg("").check),
        "keep": _KEEP,
        "paths": _texts(kinds.ABSOLUTE, "Further paths on the server to back up.", ["/srv/files"]),
        "exclude": _texts(kinds.PATTERN, "Patterns of what to leave out.", ["*.tmp"]),
        "ping": _text(
            kinds.URL,
            "A URL that is fetched after each good backup.",
            example="https://ping.example.org/1",
        ),
    },
)

_DATA: Final = _section(
    "What outlives a server.",
    {
        "strategy": _choice(
            ["replica", "volume", "none"],
            "`replica`: the new server starts as a standby of the old one. `volume`: a block "
            "volume moves. `none`: nothing is kept. When it is not given: `replica` with "
            "Postgres, `none` without.",
            None,
        ),
        "paths": _texts(
            kinds.ABSOLUTE,
            "Paths below /data that are kept, beside the apps' volumes.",
            [f"{layout.DATA}/files"],
        ),
    },
)

_DEPLOY: Final = _section(
    "Where servers run and how they are swapped. Nothing here changes the image.",
    {
        "provider": _choice(
            ["local", "hetzner", "digitalocean"], "Where servers run.", Deploy().provider
        ),
        "locations": _texts(kinds.OFFER, "Locations to try, in order.", ["fsn1", "nbg1"]),
        "server_types": _texts(kinds.OFFER, "Server types to try, in order.", ["cx22"]),
        "floating_ip": _text(kinds.ADDRESS, "The floating IP, by name or address."),
        "confirm": _text(kinds.DURATION, "How long a new server must be well after a swap.", "60s"),
        "drain": _text(kinds.DURATION, "How long old connections may go on.", "30s"),
        "allow_disconnects": _flag(
            "A swap may cut connections that cannot be paused.", Deploy().allow_disconnects
        ),
    },
)

SCHEMA: Final[dict[str, Rules]] = {
    "name": _text(
        kinds.SERVER, "The server's name, and its images'.", required=True, example="hobby"
    ),
    "imports": _texts(
        kinds.RELATIVE,
        "Files that this one builds upon; it wins over what they say.",
        ["modules/postgres-small.yaml"],
    ),
    "system": _SYSTEM,
    "users": _table(
        kinds.USER,
        _USER,
        "Accounts by name. When none is given there is `deploy`, with sudo.",
        {"deploy": {"sudo": True, "authorized_keys": [_KEY]}},
    ),
    "ssh": _SSH,
    "firewall": _FIREWALL,
    "postgres": _POSTGRES,
    "docker": _DOCKER,
    "apps": _table(
        kinds.NAME, _APP, "Apps by name.", {"shop": {"archive": "shop.tar", "port": 8000}}
    ),
    "caddy": _CADDY,
    "borg": _BORG,
    "data": _DATA,
    "deploy": _DEPLOY,
}
