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
# Few programs: each takes a guest 10 ms, and a run boots some sixty.
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

export DATA=/run/lab
mkdir -p $DATA
mount -t tmpfs -o size=75%,usrquota lab $DATA 2>/dev/null || mount -t tmpfs -o size=75% lab $DATA # no kernel of the lab's
mkdir -p $DATA/{share,mnt,scratch} && ln -s "$OUT" $DATA/log
chmod 1777 $DATA/share
# The user of the share has an account here, and not on this machine.
for file in passwd group; do
  accounts=$(<"/etc/$file")
  case $file:$'\n'$accounts in
    *$'\nlab:'*) user= ;;
    passwd:*) user=lab:x:2000:2000::/:/bin/sh ;;
    *) user=lab:x:2000: ;;
  esac
  printf '%s\n' "$accounts" $user >"/run/$file"
  mount --bind "/run/$file" "/etc/$file"
done
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
echo 0 >/proc/sys/kernel/panic_on_warn
echo 'lab: the guest ends' >/dev/kmsg
sync
poweroff -f
