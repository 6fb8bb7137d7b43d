"""The base system."""

from __future__ import annotations

from dataclasses import replace

from cloudinit import system
from cloudinit.validate import load
from specs.model import System
from specs.plan import ImagePlan


def files(plan: ImagePlan) -> dict[str, str]:
    return {file.path: file.content for file in system.part(plan).files}


def with_system(plan: ImagePlan, **values: object) -> ImagePlan:
    return replace(plan, system=replace(System(), **values))  # type: ignore[arg-type]


def test_the_spec_s_sysctl_wins(plan: ImagePlan) -> None:
    text = files(with_system(plan, sysctl={"kernel.sysrq": "176"}))[
        "/etc/sysctl.d/90-bakehouse.conf"
    ]
    assert "-kernel.sysrq = 176\n" in text
    assert "kernel.sysrq = 0" not in text


def test_sysctl_is_sorted(plan: ImagePlan) -> None:
    keys = files(plan)["/etc/sysctl.d/90-bakehouse.conf"].splitlines()[1:]
    assert keys == sorted(keys)


def test_hostname_is_the_spec_s_name_unless_given(plan: ImagePlan) -> None:
    assert files(plan)["/etc/hostname"] == "full\n"
    assert files(with_system(plan, hostname="shop"))["/etc/hostname"] == "shop\n"


def test_a_built_in_locale_needs_no_making(plan: ImagePlan) -> None:
    assert not any("locale-gen" in line for line in system.part(plan).commands)
    german = system.part(with_system(plan, locale="de_DE.UTF-8")).commands
    assert "echo 'de_DE.UTF-8 UTF-8' >/etc/locale.gen" in german


def test_upgrades_do_not_happen_on_a_server(plan: ImagePlan) -> None:
    assert {"apt-daily.timer", "apt-daily-upgrade.timer"} <= set(system.part(plan).mask)


def test_first_boot_runs_a_short_list_of_modules(plan: ImagePlan) -> None:
    text = files(plan)["/etc/cloud/cloud.cfg.d/90-bakehouse.cfg"]
    config = load(text)
    assert config["users"] == []
    assert config["vendor_data"] == {"enabled": False}
    assert config["vendor_data2"] == {"enabled": False}
    assert config["cloud_config_modules"] == []
    assert not {"ssh", "users_groups", "runcmd", "package_update_upgrade_install"} & {
        *config["cloud_init_modules"],
        *config["cloud_final_modules"],
    }


def test_the_list_of_data_sources_is_on_one_line(plan: ImagePlan) -> None:
    """ds-identify reads the file by a shell script, line by line."""
    text = files(plan)["/etc/cloud/cloud.cfg.d/90-bakehouse.cfg"]
    assert "datasource_list: [ NoCloud, Hetzner, DigitalOcean, ConfigDrive, None ]\n" in text
