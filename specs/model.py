"""What a server is: the typed, frozen form of a valid spec.

`validate` makes a `Spec`; everything after it reads only this. Paths are strings relative to the
folder of the spec file that the user named, so that a spec means the same on every machine.
Sizes are bytes and durations seconds unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Architecture = Literal["amd64"]
Pooling = Literal["transaction", "session", "none"]
Strategy = Literal["replica", "volume", "none"]
Policy = Literal["stage", "promote"]
Event = Literal["nothing-to-do", "staged", "promoted", "refused", "rolled-back", "failed", "alarm"]


@dataclass(frozen=True, slots=True)
class Repository:
    """A further apt repository; its index must be signed by the key with this fingerprint."""

    name: str
    uri: str
    suite: str
    components: tuple[str, ...]
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class System:
    """The operating system itself. An empty `hostname` means the spec's name.

    `mirror` and `security_mirror` stand in for Debian's own archives; `snapshot` is a URL pattern
    for packages that neither the cache nor the archives have any more (`specs.kinds.SNAPSHOT`).
    """

    distribution: Literal["debian"] = "debian"
    release: Literal["trixie"] = "trixie"
    architecture: Architecture = "amd64"
    hostname: str = ""
    timezone: str = "Etc/UTC"
    locale: str = "C.UTF-8"
    packages: tuple[str, ...] = ()
    sysctl: Mapping[str, str] = field(default_factory=dict)
    mirror: str = ""
    security_mirror: str = ""
    snapshot: str = ""
    repositories: tuple[Repository, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """A person's or deploy account. `sudo` is without password: no account here has one."""

    name: str
    authorized_keys: tuple[str, ...] = ()
    sudo: bool = False
    groups: tuple[str, ...] = ()
    shell: str = "/bin/bash"


@dataclass(frozen=True, slots=True)
class Ssh:
    """`kex: compat` adds key exchanges that clients older than OpenSSH 9.9 can speak."""

    port: int = 22
    kex: Literal["hardened", "compat"] = "hardened"


@dataclass(frozen=True, slots=True)
class Rule:
    """Lets new connections to a port in. No `sources` (CIDR networks) means: from everywhere."""

    port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Firewall:
    """Ports open beyond those that ssh, caddy's sites and `apps.*.publish` already need."""

    allow: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Database:
    """A database and the role that owns it; the role's password is made on the first primary."""

    name: str
    owner: str
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Postgres:
    """The cluster and the PgBouncer in front of it. `pool_size` is per database and role."""

    version: Literal[17] = 17
    databases: tuple[Database, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    pooling: Pooling = "transaction"
    pool_size: int = 20
    max_clients: int = 500


@dataclass(frozen=True, slots=True)
class Docker:
    """`log_size` as Docker spells it (10m); `subnet` is split into one /24 for each app."""

    log_size: str = "10m"
    log_files: int = 3
    subnet: str = "172.30.0.0/16"


@dataclass(frozen=True, slots=True)
class Build:
    """A container image made from Debian packages and a folder, copied to `/app`."""

    packages: tuple[str, ...] = ()
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Publish:
    """A port of a container that the outside may reach, for protocols Caddy does not speak."""

    port: int
    target: int
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class App:
    """A containerised service. Exactly one of `image` (by digest), `archive`, `build` is set.

    `kind`: a `web` app may run on two servers at once while they swap; a `worker` (also a
    scheduler, a bot) never does. `release` runs once for each generation, before it serves.
    `database` names an entry of `postgres.databases`, or is empty;
    the app then finds `DATABASE_URL` in its environment. `volumes` maps a volume's name to its
    path in the container. `secrets` names files under `/run/secrets` in the container;
    `secret_environment` maps a variable's name to the secret that is its value.
    """

    name: str
    image: str = ""
    archive: str = ""
    build: Build | None = None
    command: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    kind: Literal["web", "worker"] = "web"
    replicas: int = 1
    port: int = 0
    health: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    secret_environment: Mapping[str, str] = field(default_factory=dict)
    publish: tuple[Publish, ...] = ()
    memory: str = ""
    user: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """One site: exactly one of `app`, `static` (a folder beside the spec), `redirect` (a URL).

    `address` is a host name (HTTPS is automatic), or `http://name`, or `:80` for any name.
    """

    address: str
    aliases: tuple[str, ...] = ()
    app: str = ""
    static: str = ""
    redirect: str = ""
    compress: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Caddy:
    """The web server. `acme_directory` and `acme_root` (a PEM file) point it at another CA."""

    email: str = ""
    acme_directory: str = ""
    acme_root: str = ""
    sites: tuple[Site, ...] = ()


@dataclass(frozen=True, slots=True)
class Keep:
    """How many archives `borg prune` keeps."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 6


@dataclass(frozen=True, slots=True)
class Borg:
    """Backups. `schedule` and `check` are systemd calendar expressions."""

    repository: str
    schedule: str = "*-*-* 03:00:00"
    check: str = "Sun *-*-* 05:00:00"
    keep: Keep = Keep()
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ping: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a secret's value comes from, when not from the secrets file: what a command prints."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Secrets:
    """How secrets are kept. `recipients` are public keys of age or SSH; none means: the admins'."""

    recipients: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """What outlives a server: `strategy` for Postgres, `paths` beside the apps' own volumes."""

    strategy: Strategy = "none"
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deploy:
    """Where servers run and how they are swapped. `confirm` and `drain` are seconds."""

    provider: Literal["local", "hetzner", "digitalocean"] = "local"
    locations: tuple[str, ...] = ()
    server_types: tuple[str, ...] = ()
    floating_ip: str = ""
    image_url: str = ""
    confirm: int = 60
    drain: int = 30
    allow_disconnects: bool = False


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The scheduled run. `schedule` and `window` are as `specs.timing` reads them, in UTC; an empty
    window is always open. An image older than `max_age` seconds raises an alarm.
    """

    policy: Policy = "stage"
    schedule: str = "Sun 03:00"
    window: str = ""
    max_age: int = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told. `urls` are names of secrets, whose values are Apprise's URLs."""

    urls: tuple[str, ...] = ()
    events: tuple[Event, ...] = (
        "staged",
        "promoted",
        "refused",
        "rolled-back",
        "failed",
        "alarm",
    )


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole server, valid and complete: every default is filled in.

    `caddy`, `postgres`, `docker` and `borg` are None when the server does without them; `docker`
    is present whenever there are apps.
    """

    name: str
    system: System = System()
    users: tuple[User, ...] = ()
    ssh: Ssh = Ssh()
    firewall: Firewall = Firewall()
    postgres: Postgres | None = None
    docker: Docker | None = None
    apps: tuple[App, ...] = ()
    caddy: Caddy | None = None
    borg: Borg | None = None
    secrets: Secrets = Secrets()
    data: Data = Data()
    deploy: Deploy = Deploy()
    rebuild: Rebuild = Rebuild()
    notify: Notify = Notify()
