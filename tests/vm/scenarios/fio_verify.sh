#!/bin/bash
# What fio writes through one mount, in sequence and at random, another mount reads intact.
set -euo pipefail
command -v fio > /dev/null || { echo "fio is not installed" >&2; exit 77; }

scaled() { awk -v scale="${SCALE:-1}" -v number="$1" 'BEGIN { print int(number * scale + 0.999) }'; }
megabytes=$(scaled 3)
blocks=$(scaled 128)

# Both writers work at once, then both readers: a job waits for all above it where it says stonewall.
# Each block carries its offset and a crc32c. The second mount has nothing of it in memory.
cat > "$SCRATCH/jobs" << JOBS
[global]
ioengine=psync
thread=1
fallocate=none
clocksource=clock_gettime
verify=crc32c
verify_fatal=1
verify_state_save=0

[write-sequential]
directory=$MOUNT
filename=sequential
rw=write
bs=1m
size=${megabytes}m
do_verify=0
end_fsync=1
[write-random]
directory=$MOUNT
filename=random
rw=randwrite
bs=4k
size=$((blocks * 4))k
do_verify=0
end_fsync=1

[read-sequential]
stonewall
directory=$MOUNT2
filename=sequential
rw=read
bs=1m
size=${megabytes}m
[read-random]
directory=$MOUNT2
filename=random
rw=randread
bs=4k
size=$((blocks * 4))k
JOBS

fio --eta=never "$SCRATCH/jobs" > "$SCRATCH/log" 2>&1 || { tail -n 20 "$SCRATCH/log" >&2; exit 1; }
