#!/bin/bash
# A git repository on the mount: clone, commit, merge, then the objects are sound and the tree clean.
set -euo pipefail
command -v git > /dev/null || { echo "git is not installed" >&2; exit 77; }
fail() { echo "$*" >&2; exit 1; }

export HOME=$SCRATCH GIT_CONFIG_NOSYSTEM=1
cat > "$HOME/.gitconfig" << CONFIG
[user]
    name = A Tester
    email = tester@example.org
[safe]
    # The mount may show another owner (uid=); SEED may be a folder of the host.
    directory = *
[gc]
    auto = 0
[maintenance]
    auto = false
[advice]
    detachedHead = false
CONFIG

git clone -q "$SEED/repo.git" "$MOUNT/work"
cd "$MOUNT/work"

git checkout -q -b side v1
echo "on the side" > side.txt
git add side.txt
git commit -q -m "Add a file"

git checkout -q main
# With a lease Linux shows the times that it gave a file itself, and the server's a little later. Where
# that falls into a merge, git takes all files for changed and ends with "stash failed" (2.39; on ksmbd
# as here): it is told before, when the times that the client keeps for a second have run out.
sleep 1.1
git update-index -q --refresh
git merge -q -m "Merge side" side
[[ $(< side.txt) == "on the side" ]] || fail "the merge did not bring side.txt"

git fsck --strict --no-progress --no-dangling >&2
status=$(git status --porcelain)
[[ -z $status ]] || fail "not clean: $status"
[[ $(git rev-list --count HEAD) == 18 ]] || fail "$(git rev-list --count HEAD) commits, not 16 + 2"
