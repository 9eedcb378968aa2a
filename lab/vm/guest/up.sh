#!/bin/bash
# In the guest, as root, first of all: the disk, the kernel's modules, two linked network devices with
# soft-RoCE, a user; then the script that boot.py was given, or a shell.  $1 is the directory that the host sees.
set -u
. "$1/environment.sh"
started() { printf '%8.1f s  %s\n' "$(cut -d' ' -f1 /proc/uptime)" "$*"; }

if [ ${#LAB_SCRIPT[@]} -gt 0 ]; then exec </dev/null >"$LAB_OUT/guest.log" 2>&1; fi
started "booted $(uname -r)"
trap 'started "done"; sync' EXIT

# All by one process, which reads the lists of modules once.
modprobe -a virtio_scsi ext4 veth rdma_rxe ib_uverbs rdma_ucm cifs ksmbd cmac ccm gcm nls_utf8 ||
  started "not all modules are there"

# Everything that Python reads comes from the disk.
export LAB=/run/lab
mkdir -p $LAB/disk
for device in /dev/vda /dev/sda; do
  if [ -b $device ] && mount -o ro,noatime $device $LAB/disk; then break; fi
done
mount --bind $LAB/disk/stdlib "$LAB_STDLIB"
export PROJECT=$LAB/disk/project PYTHONPATH=$LAB/disk/site PYTHONDONTWRITEBYTECODE=1
export PATH=$PROJECT/lab/vm/guest:$PATH:/usr/sbin:/sbin

export DATA=/run/lab-data
mkdir -p $DATA && mount -t tmpfs -o size=75% lab $DATA
mkdir -p $DATA/share/{usmbd,ksmbd} $DATA/log $DATA/mnt
chmod 1777 $DATA/share/*
grep -q ^lab: /etc/passwd || { echo 'lab:x:2000:2000::/:/bin/sh' >>/etc/passwd; echo 'lab:x:2000:' >>/etc/group; }

# Both ends of the pair are here, and each has an RDMA device: what one sends the other receives.
ip link set lo up
bash "$PROJECT/lab/rxe/up.sh" --pair || started "no soft-RoCE"
started "the guest is up"

cd $DATA || exit
if [ ${#LAB_SCRIPT[@]} -gt 0 ]; then
  "$PROJECT/${LAB_SCRIPT[0]}" "${LAB_SCRIPT[@]:1}"
else
  bash "$PROJECT/lab/vm/guest/shell.sh"
fi
