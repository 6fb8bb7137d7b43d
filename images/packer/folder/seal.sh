#!/bin/sh
# On the temporary server, as root, last: takes out what must not be in an image. Same list as the
# local oven's (seal.py), on the disk alone: a bind mount does not show /run, /proc and the like.
# Environment: THERE (what was uploaded), SOURCE_DATE_EPOCH.
set -eu
root=/mnt/bakehouse-seal

# What would write while we seal, or when the server goes down.
for unit in rsyslog.service syslog.socket systemd-random-seed.service cron.service \
  unattended-upgrades.service systemd-timesyncd.service; do
  systemctl stop "$unit" 2>/dev/null || true
done
journalctl --relinquish-var 2>/dev/null || true

# What the first boot left that is this server's own: network and keys.
rm -rf /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init \
  /etc/systemd/network/10-cloud-init-*.network /etc/systemd/network/10-netplan-* \
  /etc/ssh/sshd_config.d/50-cloud-init.conf /etc/sudoers.d/90-cloud-init-users \
  /etc/ssh/authorized_keys.d/*.boot /etc/bakehouse/boot.json \
  /etc/systemd/network/20-bakehouse-floating.network /var/lib/bakehouse /home/*/.ssh

mkdir -p "$root"
mount --bind / "$root"
PYTHONDONTWRITEBYTECODE=1 python3 - "$THERE" "$root" "$SOURCE_DATE_EPOCH" <<'END'
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import seal

seal.seal(Path(sys.argv[2]), int(sys.argv[3]))
END
umount "$root"
rmdir "$root"
python3 -IB -m bakehouse.drift record 9999999999 # times here are as they are, none is clamped
rm -rf "$THERE" /run/bakehouse-bake
fstrim --all 2>/dev/null || true # free blocks cost space in a snapshot
sync # a snapshot is taken right after the shutdown's order
echo 'sealed'
