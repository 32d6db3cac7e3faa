#!/bin/sh
# Half as much swap as there is memory, in memory, compressed: what is idle makes room for what is not, and no page of a
# program is ever written to a disk. A kernel without it is a machine without swap, and no failure.
set -eu

! grep -q '^/dev/zram' /proc/swaps || exit 0
if ! modprobe zram num_devices=1; then
  echo 'this kernel has no zram; there is no swap'
  exit 0
fi
kibibytes=$(awk '/^MemTotal:/ { print int($2 / 2) }' /proc/meminfo)
device=$(zramctl --find --algorithm zstd --size "${kibibytes}KiB")
mkswap "$device"
swapon --priority 100 "$device"
