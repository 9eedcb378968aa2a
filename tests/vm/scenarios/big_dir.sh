#!/bin/bash
# A directory whose listing takes several answers shows each file exactly once, and rm -r empties it.
set -euo pipefail

count=$(awk -v scale="${SCALE:-1}" 'BEGIN { print int(120 * scale) }')
fail() { echo "$*" >&2; exit 1; }

mkdir "$MOUNT/directory"
# Names of 90 characters: 120 of them are about 32 KiB of directory information.
filler=$(printf 'long-%.0s' {1..17})
seq -f "$filler%05g" 1 "$count" > "$SCRATCH/names"
while read -r name; do
    : > "$MOUNT/directory/$name"
done < "$SCRATCH/names"

# By the mount that made them, and by one that has never seen them.
for mount in "$MOUNT" "$MOUNT2"; do
    ls -U "$mount/directory" | sort > "$SCRATCH/listed"
    diff "$SCRATCH/names" "$SCRATCH/listed" >&2 || fail "$mount lists other files than were made"
done

rm -r "$MOUNT/directory"
for _ in {1..200}; do # the second mount may hold the directory open for a moment, and remember it
    [[ -z $(ls -A "$MOUNT") && ! -e $MOUNT2/directory ]] && exit 0
    sleep 0.1
done
fail "20 s after rm -r there is still: $(ls -dC "$MOUNT"/* "$MOUNT2"/* 2> /dev/null)"
