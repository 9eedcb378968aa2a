#!/bin/bash
# What the two devices do without any SMB: RDMA WRITE and READ by perftest, the limit of fio_speed.sh's figures.
# Not part of a plan: lab-report ARGS='--only rdma-3.1.1 --scenario speed' runs both.
set -euo pipefail
command -v ib_write_bw > /dev/null || { echo "ib_write_bw is not installed: apt-get install perftest" >&2; exit 77; }
[ "$SERVER" = usmbd ] || { echo "no server is measured: once is enough" >&2; exit 77; }

measure() { # write or read, bytes, how often
    local options=(--rdma_cm --size="$2" --iters="$3" --tx-depth=4 --CPU-freq)
    echo "ON SERVER ib_$1_bw ${options[*]}" # the other end; it ends with the measurement
    read -r _
    local connected=
    for _ in $(seq 50); do
        if "ib_$1_bw" "${options[@]}" 10.99.0.1 > "$SCRATCH/client" 2>&1; then connected=1; break; fi
        sleep 0.2
    done
    [ -n "$connected" ] || { cat "$SCRATCH/client" >&2; exit 1; }
    # The fourth column of the row of figures is the average in MiB/s.
    awk -v what="$1" -v size="$2" '$1 == size {
        printf "%-9s %7d  %8.1f MB/s\n", what, size, $4 * 1048576 / 1e6
    }' "$SCRATCH/client" >&2
}

for size in 65536 1048576 4194304; do
    for what in write read; do measure $what $size $((33554432 / size)); done
done
