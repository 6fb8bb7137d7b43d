"""What a plan keeps of a spec: an image is named by what is in it."""

from __future__ import annotations

from dataclasses import replace

from specs.model import Repository, Spec, System
from specs.plan import resolve

SPEC = Spec("web", system=System(packages=("tree",)))


def test_where_packages_come_from_is_no_part_of_an_image() -> None:
    repository = Repository("extra", "http://a.test", "trixie", ("main",), "a.asc", "A" * 40)
    elsewhere = replace(
        SPEC.system,
        mirror="http://b.test",
        security_mirror="http://c.test",
        snapshot="http://d.test/{path}",
        repositories=(repository,),
    )
    assert resolve(replace(SPEC, system=elsewhere), None, ()) == resolve(SPEC, None, ())


def test_what_is_installed_and_set_is_part_of_it() -> None:
    other = replace(SPEC, system=replace(SPEC.system, timezone="Asia/Tokyo"))
    assert resolve(other, None, ()).image != resolve(SPEC, None, ()).image
    assert resolve(SPEC, None, ()).image.system.packages == ("tree",)
