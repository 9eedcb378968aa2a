#!/bin/bash
# A tree of small files that tar writes onto the mount comes back with every name and byte.
set -euo pipefail

# FILES of SEED's 2,000 files: the first N are in as many directories as there can be.
head -n "${FILES:-2000}" "$SEED/tree.list" > "$SCRATCH/list"
head -n 48 "$SCRATCH/list" > "$SCRATCH/dated"
extract() { tar -C "$1" --verbatim-files-from -T "$SCRATCH/$2" "${@:3}" -xf "$SEED/tree.tar"; }

# Owners and modes are the mount's business (see posix.py).
as_it_comes=(--no-same-owner --no-same-permissions)
extract "$MOUNT" list "${as_it_comes[@]}" --touch
# Times are part of what a backup keeps. To set them takes a third of all requests: some files, which are
# replaced, have them.
extract "$MOUNT" dated "${as_it_comes[@]}"
sync -f "$MOUNT"

# Compared by the second mount: what it shows comes from the server, not from memory.
extract "$SCRATCH" list
diff -r "$SCRATCH/tree" "$MOUNT2/tree" >&2

times=$(cd "$MOUNT2" && tr '\n' '\0' < "$SCRATCH/dated" | xargs -0 stat -c %Y | sort -u)
[[ $times == 1700000000 ]] || { echo "of another time: $times" >&2; exit 1; }
