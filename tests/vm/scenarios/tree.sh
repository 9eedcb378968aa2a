#!/bin/bash
# A tree of small files that tar writes onto the mount comes back with every name and byte.
set -euo pipefail

# FILES of SEED's 2,000 files: the first N are in as many directories as there can be.
head -n "${FILES:-2000}" "$SEED/tree.list" > "$SCRATCH/list"
tar -C "$SEED" --verbatim-files-from -T "$SCRATCH/list" -cf "$SCRATCH/tree.tar"
tar -C "$SCRATCH" -xf "$SCRATCH/tree.tar"

# Owners and modes are the mount's business (see posix.py); times are set, as any `tar -x` does.
tar -C "$MOUNT" --no-same-owner --no-same-permissions -xf "$SCRATCH/tree.tar"
sync -f "$MOUNT"

# Compared by the second mount: what it shows comes from the server, not from memory.
diff -r "$SCRATCH/tree" "$MOUNT2/tree" >&2

# Times are part of what a backup keeps (the archive has them in whole seconds).
times() { (cd "$1" && find tree -type f -printf '%T@ %p\n' | sort); }
diff <(times "$SCRATCH") <(times "$MOUNT2") >&2
