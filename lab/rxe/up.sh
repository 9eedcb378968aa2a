#!/bin/bash
# Set up soft-RoCE (rxe) on a network interface: up.sh INTERFACE
#        or on both ends of a new veth pair, for one machine that is server and client: up.sh --pair
# The pair is rdma0 (10.99.0.1, 10.99.1.1, fd99::1, and 10.99.0.3 for a second server) and rdma1 (10.99.0.2,
# 10.99.1.2, fd99::2); what is sent to these addresses crosses the pair and can be captured on either end.
# down.sh takes all of it away again, and nothing else.
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ $# = 1 ] || usage
as_root "$@"
have rdma iproute2
have ip iproute2
if [ "$1" != --pair ]; then
  [ -e "/sys/class/net/$1" ] || die "no interface $1; there are: $(cd /sys/class/net && echo *)"
fi
module rdma_rxe "Debian's kernels have it, cloud kernels have not: apt-get install linux-image-amd64, and boot it"
module ib_uverbs 'user space asks RDMA devices through it'
module rdma_ucm "user space's connection manager"

add_device() {
  local device
  device=$(device_of "$1")
  if [ -n "$device" ]; then say "$1 has the RDMA device $device already"; return; fi
  rdma link add "rxe_$1" type rxe netdev "$1" || die "no soft-RoCE on $1; see: dmesg | tail"
  say "rxe_$1 is $1's RDMA device"
}

# All addresses are of this machine: without rules of routing everything would stay in memory.
pair() {
  module veth 'it makes the pair'
  if [ -e /sys/class/net/rdma0 ]; then die 'there is an interface rdma0 already: down.sh --pair'; fi
  # With two receive queues the server tells of RSS, and the client opens further channels to one address.
  ip link add rdma0 numrxqueues 2 type veth peer name rdma1
  # RDMA's largest MTU, 4096 bytes, and headers
  ip link set rdma0 mtu 4500 up
  ip link set rdma1 mtu 4500 up
  local interface subnet
  for interface in rdma0 rdma1; do
    sysctl -q -w net.ipv4.conf.$interface.accept_local=1 net.ipv4.conf.$interface.rp_filter=0
  done
  sysctl -n net.ipv4.conf.all.rp_filter >"$SAVED"
  sysctl -q -w net.ipv4.conf.all.rp_filter=0
  # Two networks: to a server a client of the second one is somebody else.
  for subnet in 10.99.0 10.99.1; do
    ip addr add $subnet.1/24 dev rdma0
    ip addr add $subnet.2/24 dev rdma1
    ip route add $subnet.0/24 dev rdma1 src $subnet.2 table 991
    ip route add $subnet.2 dev rdma0 src $subnet.1 table 990
    ip rule add pref 10 iif lo to $subnet.2 lookup 990
    ip rule add pref 11 iif lo to $subnet.1 lookup 991
    neighbours $subnet.1 $subnet.2
  done
  ip addr add 10.99.0.3/24 dev rdma0
  ip rule add pref 11 iif lo to 10.99.0.3 lookup 991
  neighbours 10.99.0.3 10.99.0.2
  # The kernel's own rule for local addresses goes behind ours.
  ip rule add pref 20 lookup local
  ip rule del pref 0 lookup local
  if ! ip -6 addr add fd99::1/64 dev rdma0 nodad 2>/dev/null; then say 'no IPv6 here'; return; fi
  ip addr add fd99::2/64 dev rdma1 nodad
  ip -6 route add fd99::/64 dev rdma1 src fd99::2 table 991
  ip -6 route add fd99::2 dev rdma0 src fd99::1 table 990
  ip -6 rule add pref 10 iif lo to fd99::2 lookup 990
  ip -6 rule add pref 11 iif lo to fd99::1 lookup 991
  # By these the connection manager finds that a request came by the right interface.
  ip -6 rule add pref 12 oif rdma0 lookup 990
  ip -6 rule add pref 12 oif rdma1 lookup 991
  ip -6 rule add pref 20 lookup local
  ip -6 rule del pref 0 lookup local
  neighbours fd99::1 fd99::2
}

# A first packet that waits for ARP costs the connection manager seconds.
neighbours() {
  ip neigh replace "$1" lladdr "$(cat /sys/class/net/rdma0/address)" dev rdma1
  ip neigh replace "$2" lladdr "$(cat /sys/class/net/rdma1/address)" dev rdma0
}

if [ "$1" = --pair ]; then
  pair
  add_device rdma0
  add_device rdma1
else
  [ "$(cat "/sys/class/net/$1/operstate")" != down ] || die "$1 is down: ip link set $1 up"
  [ "$(cat "/sys/class/net/$1/mtu")" -ge 1280 ] || die "the MTU of $1 is too small for RoCE"
  add_device "$1"
fi
