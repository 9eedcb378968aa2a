#!/bin/bash
# Capture RoCEv2 (UDP 4791) on an interface for as long as a command runs; its exit status is returned.
#   lab/capture/roce.sh [--tcp] OUT.pcap IFACE -- command...
# --tcp adds SMB over TCP (port 445). `lab/capture/show.py OUT.pcap` reads the result.
# rxe short-cuts what stays on one machine and device: such traffic is on no interface.
set -uo pipefail

say() { printf 'roce.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }
usage='usage: roce.sh [--tcp] OUT.pcap IFACE -- command...'

filter='udp port 4791'
if [ "${1-}" = --tcp ]; then filter+=' or tcp port 445'; shift; fi
[ $# -ge 4 ] && [ "$3" = -- ] || die "$usage"
out=$1 interface=$2
shift 3

command -v tcpdump >/dev/null || die 'tcpdump is missing: apt-get install tcpdump'
[ "$(id -u)" = 0 ] || die 'needs root to capture: run it with sudo'
[ "$interface" = any ] || [ -e "/sys/class/net/$interface" ] ||
  die "no interface $interface; there are: $(cd /sys/class/net && echo *)"
: >"$out" || die "cannot write $out"

log=$(mktemp)
capture=
trap '[ -z "$capture" ] || kill -INT "$capture" 2>/dev/null; rm -f "$log"' EXIT
# By way of stdout: tcpdump opens a file as a user of its own, who may not be allowed to.
tcpdump -n -i "$interface" -s 0 -U --immediate-mode -w - "$filter" >"$out" 2>"$log" &
capture=$!
until grep -q 'listening on' "$log"; do
  kill -0 "$capture" 2>/dev/null || die "tcpdump ended: $(tail -n 1 "$log")"
  sleep 0.05
done

"$@"
status=$?
sleep 0.5 # what the kernel has not handed over yet
kill -INT "$capture"
wait "$capture"
capture=
say "$out: $(grep -E 'captured|dropped' "$log" | paste -sd, | sed 's/,/, /g')"
if grep -qE '^[1-9][0-9]* packets? dropped' "$log"; then say 'packets are missing from the capture'; fi
exit "$status"
