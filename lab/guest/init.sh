#!/bin/bash
# The first process of a guest, as root: file systems, a user, the network; then the agent, or a shell.
# A copy of it lies in the guest's directory, the one place that both sides may write, beside environment.sh.
set -u
OUT=$(cd "$(dirname "$0")" && pwd)
. "$OUT/environment.sh"
export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8

mount -t proc proc /proc
exec </dev/null
if [ "$LAB_ROLE" != shell ]; then exec >/dev/null 2>&1; fi
mount -t devtmpfs dev /dev 2>/dev/null # the kernel may have done it
# Few programs: each takes a guest 10 ms of CPU, and a run boots some sixty.
mount -a -T "$OUT/fstab"
ln -s /proc/self/fd /dev/fd
if [ "$LAB_ROLE" != shell ]; then exec >>"$OUT/guest.log" 2>&1; fi

export OUT
started() { read -r up _ </proc/uptime && printf '%8.2f s  %s\n' "$up" "$*"; }
read -r release </proc/sys/kernel/osrelease
started "booted $release"
echo "$LAB_NAME" >/proc/sys/kernel/hostname
ulimit -l unlimited
# What the kernel complains of between these two lines of its log counts: it may while it boots and powers off.
echo 'lab: the guest is up' >/dev/kmsg
echo 1 >/proc/sys/kernel/panic_on_warn
echo 50 >/proc/sys/vm/dirty_writeback_centisecs
echo 50 >/proc/sys/vm/dirty_expire_centisecs

# A kernel that is not the lab's may have no quotas there.
[[ $(</proc/mounts) == *" $DATA "* ]] || mount -t tmpfs -o size=75% lab $DATA
mkdir -m 1777 $DATA/{share,mnt,scratch}
export PATH=$PROJECT/lab/guest:$PATH PYTHONDONTWRITEBYTECODE=1

(. "$PROJECT/lab/guest/network.sh") # which ends at its first error, but not before a `||`
if [ $? != 0 ]; then started "no network"; fi
started "the guest is up"
cd $DATA || exit
if [ "$LAB_ROLE" = shell ]; then
  ln -s "$OUT" log
  setsid -c bash "$PROJECT/lab/guest/shell.sh" </dev/console >/dev/console 2>&1
else
  "$LAB_PYTHON" -IS "$PROJECT/lab/guest/agent.py" </dev/tty1 >/dev/tty1
fi
started "the guest ends"
echo 0 >/proc/sys/kernel/panic_on_warn
echo 'lab: the guest ends' >/dev/kmsg
poweroff -f # which brings to the host's disk what is in memory
