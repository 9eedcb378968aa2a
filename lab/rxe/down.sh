#!/bin/bash
# Take soft-RoCE away: down.sh INTERFACE, or down.sh --pair for what up.sh --pair made
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ $# = 1 ] || usage
as_root "$@"
have rdma iproute2
mounts=$(mount -t cifs 2>/dev/null | awk '/rdma/ {print $3}' | xargs)
[ -z "$mounts" ] || die "unmount first: $mounts"

remove_device() {
  local device
  device=$(device_of "$1")
  [ -n "$device" ] || { say "$1 has no RDMA device"; return; }
  rdma link delete "$device" || die "$device cannot be removed: it is hardware, or in use"
  say "removed $device"
}

if [ "$1" = --pair ]; then
  remove_device rdma0
  remove_device rdma1
  # Before our own rule goes, the kernel's is back: without either this machine reaches nothing.
  for family in -4 -6; do
    ip $family rule add pref 0 lookup local 2>/dev/null || true
    for priority in 10 11 12 20; do
      while ip $family rule del pref $priority 2>/dev/null; do :; done
    done
  done
  if [ -e /sys/class/net/rdma0 ]; then ip link del rdma0; fi
else
  [ -e "/sys/class/net/$1" ] || die "no interface $1; there are: $(cd /sys/class/net && echo *)"
  remove_device "$1"
fi
