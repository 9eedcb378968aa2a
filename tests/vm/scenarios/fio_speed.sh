#!/bin/bash
# How fast blocks are read and written on the mount: a line a block size and way.  `cached` is what most programs
# do, one block after the other through the client's page cache, and what was written is synced; `direct` goes past
# that cache with 4 requests under way, so that each block is a request to the server.
# Not part of a plan: lab-report ARGS='--only rdma-3.1.1 --scenario fio_speed' runs it on both servers.
set -euo pipefail
command -v fio > /dev/null || { echo "fio is not installed" >&2; exit 77; }

measure() { # way, pattern, block size, MiB
    local way=(--ioengine=psync --end_fsync=1)
    if [ "$1" = direct ]; then way=(--direct=1 --ioengine=libaio --iodepth=4); fi
    fio --name=speed --filename="$MOUNT/speed" --rw="$2" --bs="$3" --size="$4m" --fallocate=none --minimal \
        "${way[@]}" > "$SCRATCH/line"
    # Terse version 3: bandwidth in KiB/s and operations of reads are fields 7 and 8, of writes 48 and 49.
    awk -F';' -v way="$1" -v pattern="$2" -v size="$3" '{
        printf "%-6s %-9s %4s  %8.1f MB/s  %8.0f op/s\n", way, pattern, size, ($7 + $48) * 1024 / 1e6, $8 + $49
    }' "$SCRATCH/line" >&2
}

measure direct write 1m 32 # the file is there then, and its blocks are on the server
for way in cached direct; do
    for size in 64k 1m 4m; do
        measure $way write "$size" 32
        measure $way read "$size" 32
    done
    measure $way randwrite 4k 16
    measure $way randread 4k 16
done
