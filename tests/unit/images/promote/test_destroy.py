"""The end of a deployment: nothing of it stays, nothing of another goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.home import Home
from images.promote.alone import Kind, alone
from images.promote.destroy import destroy, everything
from images.promote.job import ACTIVE, Site, labels
from images.promote.lease import take
from images.providers.base import SPEC, Order
from specs.errors import BakehouseError, UsageError
from specs.model import Spec
from tests.memory import MemoryProvider


def deployed(provider: MemoryProvider, home: Home, name: str) -> Site:
    image = f"{name}-000000000001"
    provider.image(Path("raw"), image)
    provider.create_server(Order(f"{name}-g1", image, "", labels(name, 1, image, ACTIVE, 1)))
    provider.create_volume(f"{name}-data", 1 << 30, {SPEC: name})
    provider.create_floating_ip(name)
    site = Site(home, provider, Spec(name), Path(f"{name}.yaml"))
    take(provider, name, "me", {}).release()
    return site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """`web`, beside `web-staging` at the same provider."""
    provider = MemoryProvider()
    deployed(provider, Home(tmp_path), "web-staging")
    return deployed(provider, Home(tmp_path), "web")


def names(site: Site) -> list[str]:
    return [garbage.what for garbage in everything(site)]


def test_everything_is_listed_and_then_gone(site: Site) -> None:
    assert names(site) == [
        "server web-g1 at memory",
        "volume web-data at memory",
        "image web-000000000001 at memory",
        "web's floating IP, network and notes at memory",
    ]
    told: list[str] = []
    assert len(destroy(site, "web", told.append)) == len(told) == 4
    assert names(site) == ["web's floating IP, network and notes at memory"]
    assert site.provider.floating_ip("web").v4 == ""
    assert not [note for note in site.provider.notes("web") if "staging" not in note.name]
    destroy(site, "web", told.append)


def test_another_spec_is_not_touched(site: Site) -> None:
    destroy(site, "web", print)
    assert [one.name for one in site.provider.servers("web-staging")] == ["web-staging-g1"]
    assert [one.name for one in site.provider.volumes("web-staging")] == ["web-staging-data"]
    assert len(site.provider.images("web-staging")) == 1
    assert site.provider.floating_ip("web-staging").v4
    assert site.provider.notes("web-staging-lease")


def test_an_address_that_another_specs_server_holds_stays(site: Site) -> None:
    """`web-staging` was given the address of `web`, which is destroyed as an old spec."""
    (other,) = site.provider.servers("web-staging")
    site.provider.assign("web", other.id)
    with pytest.raises(BakehouseError, match=r"web \(203.*\) is at the server web-staging-g1"):
        destroy(site, "web", print)
    assert site.provider.floating_ip("web").server == other.id
    assert site.provider.notes("web-lease")
    assert not site.provider.servers("web")
    site.provider.assign("web", "")
    destroy(site, "web", print)
    assert site.provider.floating_ip("web").v4 == ""


def test_only_its_name_confirms_it(site: Site) -> None:
    with pytest.raises(UsageError, match="--confirm yes is not the name"):
        destroy(site, "yes", print)
    assert len(names(site)) == 4


def test_not_while_somebody_swaps(site: Site) -> None:
    take(site.provider, "web", "somebody", {})
    with pytest.raises(BakehouseError, match="somebody swaps servers of web now"):
        destroy(site, "web", print)
    assert len(names(site)) == 4


@pytest.mark.parametrize("work", ["build", "rebuild"])
def test_not_while_somebody_builds(site: Site, work: Kind) -> None:
    with alone(site, work), pytest.raises(BakehouseError, match=f"a {work} of web is going on"):
        destroy(site, "web", print)
    assert len(names(site)) == 4


def test_notes_stay_while_there_are_servers(site: Site) -> None:
    with pytest.raises(BakehouseError, match="web still has web-g1, web-data"):
        site.provider.forget("web")
    assert site.provider.floating_ip("web").v4


def test_what_a_dead_build_left_goes_too(site: Site) -> None:
    site.provider.create_server(Order("bakehouse-bake-web", "debian", "", {}))
    site.provider.create_server(Order("bakehouse-bake-web-staging", "debian", "", {}))
    assert "bakehouse-bake-web" in names(site)
    assert "bakehouse-bake-web-staging" not in names(site)
