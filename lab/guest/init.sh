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
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null # the kernel may have done it
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
mount -t devpts pts /dev/pts
# What this machine writes elsewhere is hidden, so that a guest cannot depend on it; what it needs of it comes back.
for directory in /dev/shm /run /tmp /var/tmp; do mount -t tmpfs tmpfs $directory; done
for directory in "$PROJECT" "$LAB_KERNEL" "$LAB_PYTHON_BASE"; do
  [ -e "$directory" ] || { mkdir -p "$directory" && mount -t hostfs none "$directory" -o "$directory,ro"; }
done
mkdir -p "$OUT" && mount -t hostfs none "$OUT" -o "$OUT"
if [ "$LAB_ROLE" != shell ]; then exec >>"$OUT/guest.log" 2>&1; fi

export OUT
started() { printf '%8.2f s  %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$*"; }
started "booted $(uname -r), $(nproc) processors"
hostname "$LAB_NAME"
ulimit -l unlimited
# What the kernel complains of between these two lines of its log counts: it may while it boots and powers off.
echo 'lab: the guest is up' >/dev/kmsg
sysctl -q -w kernel.panic_on_warn=1 vm.dirty_writeback_centisecs=50 vm.dirty_expire_centisecs=50

# The user of the share has an account here, and not on this machine.
for file in passwd group; do cp "/etc/$file" "/run/$file" && mount --bind "/run/$file" "/etc/$file"; done
grep -q ^lab: /etc/passwd || { echo 'lab:x:2000:2000::/:/bin/sh' >>/etc/passwd; echo 'lab:x:2000:' >>/etc/group; }

export DATA=/run/lab
mkdir -p $DATA
mount -t tmpfs -o size=75%,usrquota lab $DATA 2>/dev/null || mount -t tmpfs -o size=75% lab $DATA # no kernel of the lab's
mkdir -p $DATA/{share,mnt,scratch} && ln -s "$OUT" $DATA/log
chmod 1777 $DATA/share
export PATH=$PROJECT/lab/guest:$PATH PYTHONDONTWRITEBYTECODE=1

ip link set lo up
bash "$PROJECT/lab/guest/network.sh" || started "no network"
started "the guest is up"
cd $DATA || exit
if [ "$LAB_ROLE" = shell ]; then
  setsid -c bash "$PROJECT/lab/guest/shell.sh" </dev/console >/dev/console 2>&1
else
  stty -F /dev/tty1 raw -echo
  "$LAB_PYTHON" -IS "$PROJECT/lab/guest/agent.py" </dev/tty1 >/dev/tty1
fi
started "the guest ends"
sysctl -q -w kernel.panic_on_warn=0
echo 'lab: the guest ends' >/dev/kmsg
sync
poweroff -f
