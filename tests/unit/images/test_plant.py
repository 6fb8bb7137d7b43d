"""How a secret gets into its file."""

from __future__ import annotations

import shlex

from images.plant import command


def test_a_secret_appears_under_its_name_when_it_is_whole() -> None:
    words = shlex.split(command("feeds-admin"))
    assert words[-2:] == [
        "/run/bakehouse/secrets/.feeds-admin.new",
        "/run/bakehouse/secrets/feeds-admin",
    ]
    assert words[:2] == ["umask", "077"]
