# What the scripts of this folder share.
# shellcheck shell=bash

# What `net.ipv4.conf.all.rp_filter` was before up.sh --pair: that this file is there says that the rules are ours.
SAVED=/run/usmbd-rxe.rp_filter

name=$(basename "$0")
say() { printf '%s: %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }
help() { sed -n '2,/^set/{/^# /s/^# //p}' "$0"; }
usage() { help >&2; exit 2; }
case "${1:-}" in -h | --help) help; exit 0 ;; esac

as_root() { [ "$(id -u)" = 0 ] || die "needs root: sudo $0 $*"; }

# have COMMAND PACKAGE
have() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2"; }

# module NAME WHY: load it, or say why it is not there.
module() {
  [ -e /proc/modules ] || return 0 # a kernel without modules has built in what it has
  [ -d "/sys/module/$1" ] || modprobe "$1" 2>/dev/null ||
    die "the kernel $(uname -r) has no module $1 ($2); make lab-shell boots one that has"
}

# The RDMA device of a network interface: empty when it has none.
device_of() {
  # Without RDMA in the kernel the command fails, and there is no device either.
  { rdma link show 2>/dev/null || true; } | awk -v net="$1" '
    {for (i = 1; i < NF; i++) if ($i == "netdev" && $(i + 1) == net) {sub("/.*", "", $2); print $2}}'
}
