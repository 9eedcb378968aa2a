#!/bin/bash
# The same as tree.sh with all 2,000 files of SEED's tree.
FILES=2000 exec "$(dirname "$0")/tree.sh"
