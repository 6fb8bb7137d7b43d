"""What Hetzner offers, as its API describes it; prices are made up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

Json = dict[str, Any]
LABEL: Final = r"(()|[a-z0-9A-Z]|([a-z0-9A-Z][a-z0-9A-Z._-]{0,61}[a-z0-9A-Z]))"
"""A label's value, as the vendor's document has it."""

ZONE: Final = "eu-central"


def now() -> str:
    """The time, as the vendor writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _location(number: int, name: str, city: str) -> Json:
    return {
        "id": number,
        "name": name,
        "description": f"{city} DC Park 1",
        "country": "DE",
        "city": city,
        "latitude": 50.0,
        "longitude": 12.0,
        "network_zone": ZONE,
    }


LOCATIONS: Final = [_location(1, "fsn1", "Falkenstein"), _location(2, "nbg1", "Nuremberg")]
_MONEY: Final = {"net": "1.0000000000", "gross": "1.1900000000000000"}


def _type(number: int, name: str, cores: int, disk: int) -> Json:
    prices = [
        {
            "location": place["name"],
            "price_hourly": _MONEY,
            "price_monthly": _MONEY,
            "included_traffic": 20 << 40,
            "price_per_tb_traffic": _MONEY,
        }
        for place in LOCATIONS
    ]
    return {
        "id": number,
        "name": name,
        "description": name.upper(),
        "category": "Shared vCPU",
        "cores": cores,
        "memory": 2.0 * cores,
        "disk": disk,
        "storage_type": "local",
        "cpu_type": "shared",
        "architecture": "x86",
        "deprecated": False,
        "deprecation": None,
        "prices": prices,
        "locations": [
            {
                "id": place["id"],
                "name": place["name"],
                "deprecation": None,
                "available": True,
                "recommended": True,
            }
            for place in LOCATIONS
        ],
    }


TYPES: Final = [_type(22, "cx23", 2, 40), _type(23, "cx33", 4, 80)]
DATACENTERS: Final = [
    {
        "id": place["id"],
        "name": f"{place['name']}-dc14",
        "description": f"{place['city']} DC 14",
        "location": place,
        "server_types": {
            "supported": [one["id"] for one in TYPES],
            "available": [one["id"] for one in TYPES],
            "available_for_migration": [one["id"] for one in TYPES],
        },
    }
    for place in LOCATIONS
]


def image(number: int, kind: str, description: str, labels: Json, size: float | None) -> Json:
    """An image; a `system` one is called by its description."""
    return {
        "id": number,
        "type": kind,
        "status": "available",
        "name": description if kind == "system" else None,
        "description": description,
        "image_size": size,
        "disk_size": 40.0,
        "created": now(),
        "created_from": None,
        "bound_to": None,
        "os_flavor": "debian",
        "os_version": "13",
        "rapid_deploy": kind == "system",
        "protection": {"delete": False},
        "deprecated": None,
        "deleted": None,
        "labels": labels,
        "architecture": "x86",
    }
