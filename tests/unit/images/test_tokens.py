"""Where a token may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.home import Home
from images.providers.choose import provider
from specs.errors import UsageError
from tests.unit.images.wire import wired


@pytest.mark.parametrize(
    ("name", "token", "variable"),
    [
        ("hetzner", "HCLOUD_TOKEN", "HCLOUD_ENDPOINT"),
        ("digitalocean", "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_API_URL"),
    ],
)
def test_a_token_goes_nowhere_in_clear(
    name: str, token: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wired(monkeypatch)
    monkeypatch.setenv(token, "secret")
    for refused in ("http://example.org", "http://127.0.0.1.a.org:80", "http://127.0.0.1:a@b.org"):
        monkeypatch.setenv(variable, refused)
        with pytest.raises(UsageError, match=f"{variable}.* in clear"):
            provider(name, Home(tmp_path))
    for allowed in ("https://api.example.org/v1", "http://127.0.0.1:8080/v1", ""):
        monkeypatch.setenv(variable, allowed)
        assert provider(name, Home(tmp_path)).name == name
