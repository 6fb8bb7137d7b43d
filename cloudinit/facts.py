"""`/etc/bakehouse/server.json`: what our programs on a server know of its spec."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from specs import layout
from specs.model import App
from specs.plan import ImagePlan


def image_tag(plan: ImagePlan, app: App) -> str:
    """The name under which Docker knows the app's image, the same for every source of images."""
    return f"bakehouse.local/{app.name}:{plan.payload(f'app/{app.name}').sha256[:12]}"


def server_facts(plan: ImagePlan) -> dict[str, Any]:
    """The facts as plain data; keys are those of the spec's own sections."""
    postgres = None
    if plan.postgres:
        postgres = {
            "version": plan.postgres.version,
            "databases": [asdict(database) for database in plan.postgres.databases],
            "pooling": plan.postgres.pooling,
            "pool_size": plan.postgres.pool_size,
            "max_clients": plan.postgres.max_clients,
        }
    return {
        "name": plan.name,
        "postgres": postgres,
        "apps": [
            {
                "name": app.name,
                "image": image_tag(plan, app),
                "release": list(app.release),
                "kind": app.kind,
                "replicas": app.replicas,
                "port": app.port,
                "ports": layout.app_ports(index, app.replicas) if app.port else [],
                "health": app.health,
                "database": app.database,
                "volumes": dict(app.volumes),
                "secrets": list(app.secrets),
                "secret_environment": dict(app.secret_environment),
                "user": app.user,
            }
            for index, app in enumerate(plan.apps)
        ],
        "borg": asdict(plan.borg) if plan.borg else None,
        "data": {"paths": list(plan.data.paths), "strategy": plan.data.strategy},
    }


def server_json(plan: ImagePlan) -> str:
    """The facts as JSON, sorted and indented."""
    return json.dumps(server_facts(plan), indent=1, sort_keys=True) + "\n"
