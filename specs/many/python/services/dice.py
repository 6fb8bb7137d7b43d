"""Dice: GET /3d6 rolls three of six sides."""

from __future__ import annotations

import secrets

from .web import Answer, Request, serve, well


def roll(count: int, sides: int) -> list[int]:
    """Fair dice."""
    return [1 + secrets.randbelow(sides) for _ in range(count)]


def main() -> None:
    """Serve."""

    def show(request: Request) -> Answer:
        dice = roll(*(int(group) for group in request.groups))
        return Answer({"dice": dice, "sum": sum(dice)})

    serve({r"GET /([1-9]\d?)d([1-9]\d?)": show, "GET /healthz": well})


if __name__ == "__main__":
    main()
