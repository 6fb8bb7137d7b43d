#!/bin/sh
# On the temporary server, as root: the real cloud-init runs bake.yaml, as the local oven does it.
# Environment: THERE (what was uploaded), CLOUD_INIT (its locked version), SOURCE_DATE_EPOCH.
set -eu
bake=/run/bakehouse-bake # where bake.yaml looks; memory is too small for the packages
seed=/var/lib/cloud/seed/nocloud

if [ ! -e "$THERE/repo/Packages" ]; then
  echo 'repo/ holds no packages: `invoke render --whole` lays them out' >&2
  exit 1
fi
ln -sfn "$THERE" "$bake"

# The vendor's own configuration of cloud-init and apt has no say in the bake, nor in the image.
for file in /etc/cloud/cloud.cfg.d/*; do
  dpkg --search "$file" >/dev/null 2>&1 || rm -f "$file"
done
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /var/lib/apt/lists
mkdir -p /etc/apt/sources.list.d
echo "deb [trusted=yes] file:$bake/repo ./" >/etc/apt/sources.list.d/bakehouse-bake.list

# cloud-init itself first: a program must not be replaced while it runs.
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
apt-get -q update
apt-get -qy --no-install-recommends --allow-downgrades -o APT::Sandbox::User=root \
  -o Dpkg::Options::=--force-confnew install "cloud-init=$CLOUD_INIT"

cloud-init clean --logs
rm -rf /run/cloud-init "$seed"
mkdir -p /run/cloud-init "$seed"
cp "$THERE/bake.yaml" "$seed/user-data"
echo 'instance-id: bake' >"$seed/meta-data"
cat >/etc/cloud/cloud.cfg.d/99-bake.cfg <<'END'
datasource_list: [NoCloud]
datasource: {NoCloud: {fs_label: null}}
network: {config: disabled}
END

echo 'cloud-init: baking'
sockets=/run/cloud-init/share
cloud-init --all-stages </dev/null &
all=$!
for stage in local network config final; do
  until [ -S "$sockets/$stage.sock" ]; do
    kill -0 "$all" || exit 1
    sleep 0.1
  done
  echo start | nc -Uu -W1 -s "$sockets/$stage-return.sock" "$sockets/$stage.sock"
done >/dev/null
wait "$all" || true # its status file is believed, not its exit code

python3 - <<'END'
import json, sys

with open("/run/cloud-init/status.json") as file:
    stages = json.load(file)["v1"]
wrong = []
for name, stage in sorted(stages.items()):
    if isinstance(stage, dict):
        wrong += [f"{name}: {text}" for text in stage.get("errors", [])]
        for level, texts in sorted(stage.get("recoverable_errors", {}).items()):
            wrong += [f"{name}: {level}: {text}" for text in texts]
if wrong or not any(isinstance(stage, dict) and stage.get("finished") for stage in stages.values()):
    with open("/var/log/cloud-init-output.log", errors="replace") as file:
        tail = file.read().splitlines()[-40:]
    sys.exit("\n".join(["cloud-init reports failures while baking", *wrong, *tail]))
END
echo 'cloud-init: baked'
