"""The emulator of Hetzner's API, judged by a client that is not ours: Debian's hcloud-cli."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images import ssh
from images.home import Home
from images.run import Result, run
from tests.emulators.hetzner import Hetzner, hetzner
from tests.emulators.small import small_tree

ROOT = Path(__file__).parents[2]
INVOKE = [sys.executable, "-m", "invoke", "--search-root", str(ROOT)]

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        shutil.which("hcloud") is None, reason="needs hcloud: apt install hcloud-cli"
    ),
]

LIFE = """
ssh-key create --name me --public-key-from-file KEY.pub
network create --name n --ip-range 10.0.0.0/16
network add-subnet n --type cloud --network-zone eu-central --ip-range 10.0.0.0/24
placement-group create --name pg --type spread
server create --name s1 --type cx23 --image debian-13 --ssh-key me --location fsn1 --network n
server describe s1
server shutdown s1
server create-image --type snapshot --description d1 --label image=x s1
image list
floating-ip create --type ipv4 --name web --home-location fsn1
floating-ip assign web s1
floating-ip unassign web
server poweron s1
volume create --name v1 --size 10 --location fsn1 --format ext4
volume attach v1 --server s1
volume detach v1
volume delete v1
server reset s1
server poweroff s1
firewall create --name fw
firewall add-rule fw --direction in --protocol tcp --port 22 --source-ips 0.0.0.0/0
firewall apply-to-resource fw --type server --server s1
firewall remove-from-resource fw --type server --server s1
server delete s1
firewall delete fw
floating-ip delete web
placement-group delete pg
ssh-key delete me
network delete n
server-type list
location list
datacenter list
"""

KNOWN = {"GET /actions: has no ?page", "GET /server_types: has no ?sort"}
"""What hcloud-cli 1.30.3 asks that is not in the vendor's document."""

Call = Callable[[str], Result]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Hetzner]:
    tree = small_tree(tmp_path / "small")
    with hetzner(Home(tmp_path / "cloud"), delay=0.1) as found:
        found.add_image(tree, kind="system", name="debian-13")
        yield found


@pytest.fixture
def call(cloud: Hetzner, tmp_path: Path) -> Call:
    """Run `hcloud` with these words."""
    key = ssh.make_key(tmp_path)
    env = {"HCLOUD_TOKEN": "token", "HCLOUD_ENDPOINT": cloud.url, "HOME": str(tmp_path)}

    def hcloud(line: str) -> Result:
        words = line.replace("KEY", str(key.private)).split()
        return run(["hcloud", *words], env=env, timeout=60, check=False)

    return hcloud


def test_a_whole_life_of_a_server(cloud: Hetzner, call: Call) -> None:
    for line in LIFE.strip().splitlines():
        done = call(line)
        assert done.code == 0, f"{line}: {done.stderr}"
    assert {kind: n for kind, n in cloud.left().items() if n} == {"images": 1}
    assert not cloud.wrong_answers()
    assert set(cloud.wrong("hcloud-cli")) <= KNOWN


def test_what_the_vendor_refuses_is_refused(cloud: Hetzner, call: Call) -> None:
    """In its own words, which the client understands."""
    assert call("placement-group create --name pg --type spread").code == 0
    assert "uniqueness_error" in call("placement-group create --name pg --type spread").stderr
    assert "not found" in call("server describe nobody").stderr
    cloud.tokens.clear()
    assert "unable to authenticate" in call("server list").stderr
    assert not cloud.wrong_answers()


def test_lists_have_pages(cloud: Hetzner, call: Call) -> None:
    cloud.groups.limit = 100
    for number in range(60):
        cloud.groups.add(
            {
                "name": f"g{number}",
                "type": "spread",
                "labels": {"even": str(number % 2)},
                "servers": [],
                "created": "2026-01-01T00:00:00+00:00",
            }
        )
    assert len(json.loads(call("placement-group list -o json").stdout)) == 60
    assert len(json.loads(call("placement-group list -o json -l even=1").stdout)) == 30
    assert not cloud.wrong_answers()


def test_the_guide_s_way_to_be_rid_of_it_all(cloud: Hetzner, call: Call, tmp_path: Path) -> None:
    """The commands of docs/hetzner.md, run as they stand there: what is labelled goes."""
    for line in (
        "ssh-key create --name me --public-key-from-file KEY.pub",
        "network create --name hobby --ip-range 10.131.0.0/16 --label spec=hobby",
        "firewall create --name hobby --label spec=hobby",
        "server create --name s1 --type cx23 --image debian-13 --label spec=hobby --ssh-key me",
        "server create-image --type snapshot --label spec=hobby --label image=hobby-00 s1",
        "floating-ip create --type ipv4 --name hobby --home-location fsn1 --label spec=hobby",
        "volume create --name v1 --size 10 --location fsn1 --label spec=hobby",
        "volume create --name kept --size 10 --location fsn1",
        "placement-group create --name hobby-lease-1 --type spread "
        "--label state=released --label owner=me --label expires=0",
    ):
        assert call(line).code == 0, line
    guide = (ROOT / "docs/hetzner.md").read_text(encoding="utf-8")
    part = guide.partition("## To be rid of it all")[2].partition("\n## ")[0]
    lines = [line.partition("#")[0].split() for line in part.splitlines() if line[:4] == "    "]
    assert [words[:2] for words in lines] == [["invoke", "destroy"]] * 2
    env = {"HCLOUD_TOKEN": "token", "HCLOUD_ENDPOINT": cloud.url, "BAKEHOUSE_HOME": str(tmp_path)}
    for _, *words in lines:
        done = run([*INVOKE, *words, "--provider", "hetzner"], cwd=ROOT, env=env, timeout=60)
        assert "server s1 at hetzner" in done.stdout + done.stderr
    left = {kind: n for kind, n in cloud.left().items() if n}
    assert left == {"volumes": 1, "ssh_keys": 1}
