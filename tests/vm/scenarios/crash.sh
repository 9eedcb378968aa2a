#!/bin/bash
# After all processes of the server were killed and it was started again, a mount goes on.
set -eu
[ "$SERVER" = usmbd ] || { echo "the kernel's server cannot be killed" >&2; exit 77; }
EVENT=CRASH exec "$(dirname "$0")/recover.py"
