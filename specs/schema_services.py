"""The sections of the spec language for what runs on a server."""

from __future__ import annotations

from typing import Final

from specs import kinds, layout
from specs.kinds import Kind
from specs.model import App, Borg, Caddy, Docker, Keep, Postgres, Publish, Site
from specs.rules import Rules, choice, flag, items, number, section, table, text, texts

_VALUE: Final[Rules] = {"type": "string", "check_with": kinds.VALUE}
_LINE: Final[Rules] = {"type": "string", "check_with": kinds.LINE}

_DATABASE: Final = section(
    "A database. Its owner's password is made on the first primary and never leaves the data.",
    {
        "owner": text(
            kinds.DATABASE,
            "The role that owns it; the database's name when it is not given.",
            example="guestbook",
        ),
        "extensions": texts(kinds.EXTENSION, "Extensions to create in it.", ["pg_trgm"]),
    },
)

POSTGRES: Final = section(
    "A Postgres cluster with PgBouncer in front of it. Nothing outside of the server reaches it.",
    {
        "version": choice([17], "The major version.", Postgres().version),
        "databases": table(
            kinds.DATABASE,
            _DATABASE,
            "Databases by name. An app's `database` must be one of them: a typing error would "
            "otherwise start with an empty database.",
            {"guestbook": {}},
            entry="guestbook",
        ),
        "settings": table(
            kinds.SETTING, _LINE, "Settings for postgresql.conf.", {"shared_buffers": "512MB"}
        ),
        "pooling": choice(
            ["transaction", "session", "none"],
            "How PgBouncer lends connections. `transaction` is the default: a client may then "
            "keep no session state (advisory locks, LISTEN, SET). With `session` each client "
            "holds a connection, so that fewer fit and a swap waits for them to leave. With "
            "`none` nothing is shared or kept: each client gets a connection of its own, "
            "and each swap cuts it.",
            Postgres().pooling,
        ),
        "pool_size": number(
            1, 1000, "Connections to Postgres per database and role.", Postgres().pool_size
        ),
        "max_clients": number(
            1, 100_000, "Clients that PgBouncer admits at once.", Postgres().max_clients
        ),
    },
)

DOCKER: Final = section(
    "Docker; it is there whenever there are apps.",
    {
        "log_size": text(
            kinds.SIZE, "Size at which a container's log is rotated.", Docker().log_size
        ),
        "log_files": number(1, 100, "Logs kept of each container.", Docker().log_files),
        "subnet": text(
            kinds.SUBNET,
            "A private network, split into one /24 for each app. More than 255 apps get "
            "10.128.0.0/12 when it is not given.",
            Docker().subnet,
        ),
    },
)

_BUILD: Final = section(
    "Makes a container image from Debian packages and a folder, without Dockerfile or registry.",
    {
        "packages": texts(kinds.PACKAGE, "Debian packages in the image.", ["python3-psycopg"]),
        "folder": text(
            kinds.RELATIVE,
            "A folder beside the spec that is copied to /app.",
            path=True,
            example="guestbook",
        ),
    },
)

_PUBLISH: Final = section(
    "A port of the container for the outside, for protocols that Caddy does not speak. A plain "
    "number is short for `{port: NUMBER}`.",
    {
        "port": number(1, 65535, "The server's port.", required=True, example=25565),
        "target": number(
            1, 65535, "The container's port; `port` when it is not given.", example=25565
        ),
        "protocol": choice(["tcp", "udp"], "The protocol.", Publish(1, 1).protocol),
    },
    shorthand="port",
)

APP: Final = section(
    "A service in containers. Its image is exactly one of `image`, `archive`, `build`.",
    {
        "image": text(
            kinds.IMAGE,
            "An image of a registry, by digest.",
            example=f"ghcr.io/example/shop@sha256:{'0' * 64}",
            alternative=True,
        ),
        "archive": text(
            kinds.RELATIVE,
            "An OCI archive beside the spec.",
            path=True,
            example="shop.tar",
            alternative=True,
        ),
        "build": _BUILD,
        "command": texts(
            kinds.WORD,
            "The command, word by word; the image's own when it is not given.",
            ["python3", "-m", "guestbook"],
        ),
        "release": texts(
            kinds.WORD,
            "A command for each new generation, such as a migration, word by word. It runs in a "
            "container of the app on a database that can be written, before the new generation "
            "serves; at a promote, inside the pause. It may run again, so it must bear that.",
            ["python3", "-m", "guestbook.migrate"],
        ),
        "kind": choice(
            ["web", "worker"],
            "A `web` app may run on two servers at once while they swap. A `worker` (also a "
            "scheduler or a bot) never does.",
            App("").kind,
        ),
        "replicas": number(
            1, layout.MAX_REPLICAS, "Containers that run side by side.", App("").replicas
        ),
        "port": number(1, 65535, "The port it listens on for HTTP.", example=8000),
        "health": text(
            Kind("a path on the app", r"/[^\s\x00-\x1f\x7f-\x9f\"'`{}\\]*", "for example /healthz"),
            "A path that answers 2xx when the app is well.",
            example="/healthz",
        ),
        "environment": table(
            kinds.VARIABLE, _VALUE, "Environment variables, none of them secret.", {"DEBUG": "0"}
        ),
        "database": text(
            kinds.DATABASE,
            "One of `postgres.databases`; the app finds `DATABASE_URL` in its environment.",
            example="guestbook",
        ),
        "volumes": table(
            kinds.NAME,
            {"type": "string", "check_with": kinds.ABSOLUTE},
            "Folders that outlive servers: a name, and the path in the container.",
            {"uploads": "/data/uploads"},
        ),
        "secrets": texts(
            kinds.SECRET, "Secrets, each a file below /run/secrets in the container.", ["api-key"]
        ),
        "secret_environment": table(
            kinds.VARIABLE,
            {"type": "string", "check_with": kinds.SECRET},
            "Secrets as environment variables: a variable's name, and the secret's. A file is "
            "better where the app can read one: child processes inherit an environment.",
            {"STRIPE_KEY": "stripe-key"},
        ),
        "publish": items(_PUBLISH, "Ports for the outside.", [25565]),
        "memory": text(kinds.SIZE, "The most memory a container may take.", example="512m"),
        "user": text(
            kinds.ACCOUNT,
            "Who runs it in the container; the image's own when it is not given.",
            example="1000:1000",
        ),
        "read_only": flag("The container's own files cannot be changed.", App("").read_only),
    },
)

_SITE: Final = section(
    "A site: exactly one of `app`, `static`, `redirect`.",
    {
        "aliases": texts(kinds.SITE, "Further addresses that serve the same.", ["www.example.org"]),
        "app": text(kinds.NAME, "The app that answers, over its replicas.", example="guestbook"),
        "static": text(
            kinds.RELATIVE,
            "A folder beside the spec to serve.",
            path=True,
            example="site",
            alternative=True,
        ),
        "redirect": text(
            kinds.URL, "Where to send visitors.", example="https://example.org", alternative=True
        ),
        "compress": flag("Answers are compressed (zstd, gzip).", Site("").compress),
        "headers": table(
            kinds.HEADER,
            {"type": "string", "check_with": kinds.HEADER_VALUE},
            "Headers added to answers.",
            {"X-Frame-Options": "DENY"},
        ),
    },
)

CADDY: Final = section(
    "The web server. HTTPS and its certificates are automatic for sites with a host name.",
    {
        "email": text(kinds.EMAIL, "Whom the CA may write to.", example="you@example.org"),
        "acme_directory": text(
            kinds.URL,
            "Another CA's ACME directory.",
            Caddy().acme_directory,
            example="https://ca.example.org/acme/directory",
        ),
        "acme_root": text(
            kinds.RELATIVE,
            "A PEM file with the root certificate of that CA.",
            Caddy().acme_root,
            example="ca.pem",
            path=True,
        ),
        "sites": table(
            kinds.SITE,
            _SITE,
            "Sites by address: a host name (HTTPS), `http://` and a host name, or `:80` for "
            "whatever name is asked for.",
            {"example.org": {"app": "guestbook"}},
            entry="example.org",
        ),
    },
)

_KEEP: Final = section(
    "How many archives are kept.",
    {
        "daily": number(0, 10_000, "Of the last days.", Keep().daily),
        "weekly": number(0, 10_000, "Of the last weeks.", Keep().weekly),
        "monthly": number(0, 10_000, "Of the last months.", Keep().monthly),
    },
)

BORG: Final = section(
    "Backups: a dump of every database, the apps' volumes and `data.paths`, encrypted.",
    {
        "repository": text(
            kinds.BORG,
            "Where archives go.",
            required=True,
            example="ssh://u1@u1.example.org:23/./backups",
        ),
        "schedule": text(kinds.CALENDAR, "When archives are made.", Borg("").schedule),
        "check": text(kinds.CALENDAR, "When the repository is checked.", Borg("").check),
        "keep": _KEEP,
        "paths": texts(kinds.ABSOLUTE, "Further paths on the server to back up.", ["/srv/files"]),
        "exclude": texts(kinds.PATTERN, "Patterns of what to leave out.", ["*.tmp"]),
        "ping": text(
            kinds.URL,
            "A URL to fetch after each good backup, with `/start` and `/fail` added at a start and "
            "a failure. A check that fails is one too, and so is each backup until a check passes.",
            example="https://ping.example.org/1",
        ),
    },
)
