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
  if ! [ -e "$SAVED" ] && ! [ -e /sys/class/net/rdma0 ]; then say 'up.sh --pair has set up nothing here'; exit 0; fi
  # Before our own rule goes, the kernel's is back: without either this machine reaches nothing.
  for family in -4 -6; do ip $family rule add pref 0 lookup local 2>/dev/null || true; done
  # Each by all that up.sh gave it: rules of these priorities may be others'.
  drop() { while ip "$@" 2>/dev/null; do :; done; }
  for address in 10.99.0.2 10.99.1.2; do drop -4 rule del pref 10 iif lo to $address lookup 990; done
  for address in 10.99.0.1 10.99.1.1 10.99.0.3; do drop -4 rule del pref 11 iif lo to $address lookup 991; done
  drop -6 rule del pref 10 iif lo to fd99::2 lookup 990
  drop -6 rule del pref 11 iif lo to fd99::1 lookup 991
  drop -6 rule del pref 12 oif rdma0 lookup 990
  drop -6 rule del pref 12 oif rdma1 lookup 991
  for family in -4 -6; do drop $family rule del pref 20 lookup local; done
  if [ -e /sys/class/net/rdma0 ]; then ip link del rdma0; fi
  if [ -e "$SAVED" ]; then
    sysctl -q -w net.ipv4.conf.all.rp_filter="$(cat "$SAVED")"
    rm -f "$SAVED"
  fi
else
  [ -e "/sys/class/net/$1" ] || die "no interface $1; there are: $(cd /sys/class/net && echo *)"
  remove_device "$1"
fi
