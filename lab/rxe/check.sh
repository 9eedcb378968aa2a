#!/bin/bash
# Check that RDMA works: check.sh             what this machine has, and what keeps user space from using it
#                        check.sh --server    wait for one connection from the other machine (port 7174)
#                        check.sh ADDRESS     connect to it: verbs, the connection manager and data both ways
# On one machine with up.sh --pair: check.sh --server & check.sh 10.99.0.1
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ $# -le 1 ] || usage
have rdma iproute2
have rping rdmacm-utils
have ibv_devinfo ibverbs-utils

case "${1:-}" in --server | '') ;; -*) usage ;; esac
links=$(rdma link show 2>/dev/null) || true
if [ -z "$links" ]; then
  [ -d /sys/module/rdma_rxe ] || modinfo rdma_rxe >/dev/null 2>&1 ||
    die "no RDMA device, and the kernel $(uname -r) has no soft-RoCE (rdma_rxe) to make one with; lab/rxe/up.sh says more"
  die 'no RDMA device: up.sh INTERFACE makes one of soft-RoCE'
fi

case "${1:-}" in
  --server) exec timeout 60 rping -s -C 10 -v -p 7174 ;;
  '') ;;
  *)
    timeout 30 rping -c -a "$1" -C 10 -p 7174 ||
      die "no RDMA connection to $1: is check.sh --server running there, is UDP 4791 open?"
    say "ten messages to $1 and back"
    exit 0
    ;;
esac

printf '%s\n' "$links"
[ -c /dev/infiniband/rdma_cm ] || die '/dev/infiniband/rdma_cm is missing: modprobe rdma_ucm'
ls /dev/infiniband/uverbs* >/dev/null 2>&1 || die '/dev/infiniband/uverbs0 is missing: modprobe ib_uverbs'
[ -w /dev/infiniband/rdma_cm ] || die '/dev/infiniband/rdma_cm is not yours to open: run it as root, or see udev'
ibv_devinfo | grep -q PORT_ACTIVE || die 'no port is active: is the network interface up?'
limit=$(ulimit -l)
if [ "$(id -u)" != 0 ] && [ "$limit" != unlimited ] && [ "$limit" -lt 262144 ]; then
  say "only $limit KiB may be locked in memory, and usmbd takes 256 MiB at most:"
  say 'raise memlock in /etc/security/limits.conf'
fi
say 'user space can use RDMA here'
