#!/bin/bash
# Mount a share with SMB Direct and say whether RDMA is really used:
#        mount.sh //SERVER/SHARE DIRECTORY USER[%PASSWORD] [OPTIONS]
# OPTIONS are further ones of mount.cifs, for example vers=3.0,port=1445.
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ $# = 3 ] || [ $# = 4 ] || usage
as_root "$@"
have mount.cifs cifs-utils
module cifs "the kernel's client: linux-image-amd64 has it"
module rdma_cm 'the connection manager'
[ -d "$2" ] || die "no directory $2"
grep -qs 'SMBDirect\|SMB_DIRECT\|CIFS_SMB_DIRECT' /proc/fs/cifs/DebugData ||
  die "this kernel's cifs is built without SMB Direct (CONFIG_CIFS_SMB_DIRECT); lab/kernel/prepare.sh shows how to build it"
rdma link show | grep -q 'state ACTIVE' || die 'no active RDMA device: up.sh INTERFACE'

user=${3%%%*} password=
case "$3" in *%*) password=${3#*%} ;; esac
since=$(dmesg | wc -l)
if ! PASSWD=$password mount -t cifs "$1" "$2" -o "username=$user,vers=3.1.1${4:+,$4},rdma"; then
  dmesg | tail -n "+$((since + 1))" | grep -i cifs >&2 || true
  die "mount failed; the kernel's words are above. Does the server listen: check.sh, usmbd.control --rdma"
fi
grep -q 'SMBDirect' /proc/fs/cifs/DebugData && dmesg | tail -n "+$((since + 1))" | grep -q 'RDMA transport established' ||
  say 'mounted, on a connection that was there before'
say "$2 is mounted; the connection's parameters: /proc/fs/cifs/DebugData"
