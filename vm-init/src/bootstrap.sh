#!/bin/bash
# Fetches, checks and starts the idle-agent; everything else is the idle-agent's work.
# This text is the same on every machine: what differs is read as data from /etc/ebbtide.
set -euo pipefail

config=/etc/ebbtide
target=/usr/local/bin/ebb-agent
fresh=$target.new

say() { printf 'ebbtide-bootstrap: %s\n' "$*"; }
trap 'say "failed in line $LINENO; the machine stays without an idle-agent and is ended by its control plane"' ERR

# The provider may have set a root password; nobody knows it, and nothing accepts it.
usermod --password '*' root || say 'could not disable the password of root'

# Before anything of a workspace is here. Where the image has no nft, the idle-agent brings it and loads the rules.
systemctl daemon-reload
systemctl enable --now ebbtide-firewall.service || say 'the packet filter does not stand yet'

# Nobody signs in by the image's own sshd, which has other keys at each wake. Where SSH is let in, the idle-agent runs one.
systemctl mask --now ssh.socket ssh.service 2>/dev/null || say 'the sshd of the image runs on'

# What a developer's machine needs of its kernel; without it the workspace works all the same.
sysctl --quiet --load=/etc/sysctl.d/60-ebbtide.conf || say 'the limits of the kernel stay as they are'
systemctl enable --now ebbtide-swap.service || say 'there is no swap'

# The image's own apt would begin just now, and hold the locks that the boot needs. A machine that lives for hours needs
# neither; one of them that runs already ends by itself and is waited for.
# Stopped first: a timer that is masked while it runs counts as failed from then on.
systemctl stop apt-daily.timer apt-daily-upgrade.timer 2>/dev/null || :
systemctl mask apt-daily.timer apt-daily-upgrade.timer 2>/dev/null || say 'the timers of apt stay as they are'
systemctl --no-block stop apt-daily.service apt-daily-upgrade.service 2>/dev/null || :

if ! command -v curl >/dev/null; then
  say 'installing curl'
  apt-get update -q && apt-get install -qy --no-install-recommends curl ca-certificates
fi

url=$(<"$config/agent.url")
fetched=no
# 1 + 2 + 4 + … + 30 × 30 s: about 16 minutes, more than a boot may go without progress.
for pause in 1 2 4 8 15 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 0; do
  say "fetching the idle-agent from $url"
  # The checksum is taken of every attempt: a truncated or foreign answer counts as no answer.
  if curl --fail --silent --show-error --proto '=http,https' --connect-timeout 10 --max-time 300 \
    --output "$fresh" -- "$url" && sha256sum --check --status "$config/agent.sha256"; then
    fetched=yes
    break
  fi
  say "no usable answer; again in $pause s"
  sleep "$pause"
done
[ "$fetched" = yes ]

chmod 0755 "$fresh"
mv -f "$fresh" "$target"
ln -sf ebb-agent /usr/local/bin/ebb
systemctl daemon-reload
systemctl enable --now ebbtide-agent.service
say 'the idle-agent runs'
