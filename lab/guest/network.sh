#!/bin/bash
# The guest's addresses, by its place on the wire ($LAB_HOST, a number), and its RDMA device ($LAB_RDMA: rxe or siw).
# Each machine is in two networks, so that one client can come as two: 10.99.0.N and 10.99.1.N, fd99::N.
set -eu
if [ -n "$LAB_HOST" ]; then
  device=vec0
  # RoCE makes frames of 4096 bytes and its headers of it.
  ip -batch - <<F
link set lo up
link set $device mtu 4500
addr add 10.99.0.$LAB_HOST/24 dev $device
addr add 10.99.1.$LAB_HOST/24 dev $device
addr add fd99::$LAB_HOST/64 dev $device nodad
link set $device up
F
  if [ -n "$LAB_RDMA" ]; then rdma link add rdma0 type "$LAB_RDMA" netdev $device; fi
else
  ip link set lo up
  # A machine alone: both ends of a pair are here, and each has an RDMA device.
  bash "$PROJECT/lab/rxe/up.sh" --pair
fi
