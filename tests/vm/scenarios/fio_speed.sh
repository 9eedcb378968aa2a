#!/bin/bash
# How fast blocks are read and written on the mount, past the client's cache: a line a block size.
# Not part of a plan: lab-report ARGS='--only rdma-3.1.1 --scenario fio_speed' runs it on both servers.
set -euo pipefail
command -v fio > /dev/null || { echo "fio is not installed" >&2; exit 77; }

measure() { # pattern, block size, MiB
    fio --name=speed --filename="$MOUNT/speed" --rw="$1" --bs="$2" --size="$3m" --direct=1 --ioengine=libaio \
        --iodepth=4 --fallocate=none --minimal > "$SCRATCH/line"
    # Terse version 3: bandwidth in KiB/s and operations of reads are fields 7 and 8, of writes 48 and 49.
    awk -F';' -v pattern="$1" -v size="$2" '{
        printf "%-9s %4s  %8.1f MB/s  %8.0f op/s\n", pattern, size, ($7 + $48) * 1024 / 1e6, $8 + $49
    }' "$SCRATCH/line" >&2
}

measure write 1m 32 # the file is there then, and its blocks are on the server
for size in 64k 1m 4m; do
    measure write "$size" 32
    measure read "$size" 32
done
measure randwrite 4k 2
measure randread 4k 2
