#!/bin/bash
# smbtorture of another release of Debian, for `make torture SMBTORTURE=4.25`: its packages are unpacked below the lab's
# cache, with all libraries that it needs and their loader, as a newer one needs a newer C library. Nothing is installed.
#   lab/smbtorture.sh 4.25             the newest 4.25 that Debian has; the last line on stdout is the program
#   lab/smbtorture.sh /path/to/it      this one
# USMBD_LAB_CACHE names another cache.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=lab/packages.sh
. lab/packages.sh

CACHE=$(realpath -m "${USMBD_LAB_CACHE:-${XDG_CACHE_HOME:-$(echo ~)/.cache}/usmbd-lab}")

series=${1:?lab/smbtorture.sh 4.25}
case "$series" in
  */*) [ -x "$series" ] || die "there is no program $series"; realpath "$series"; exit ;;
  *[!0-9.]*) die "SMBTORTURE is a series of Samba, such as 4.25, or a program's path; not $series" ;;
esac

directory=$CACHE/smbtorture-$series
if ! [ -x "$directory/smbtorture" ]; then
  begin_unpacking "$CACHE"
  unpack_series samba-testsuite "$series" "$WORK"
  mkdir -p "$WORK/done/libraries"
  loader=$(compgen -G "$WORK/root/usr/lib*/ld-linux*.so.*" || compgen -G "$WORK/root/lib*/ld-linux*.so.*")
  libraries=$(dirname "$(find "$WORK/root" -name libc.so.6 | head -n 1)")
  samba=$(dirname "$(find "$WORK/root" -name 'libtorture*' | head -n 1)")
  "$loader" --library-path "$libraries:$WORK/root/usr/lib/$(basename "$libraries"):$samba" --list "$WORK/root/usr/bin/smbtorture" |
    awk '$2 == "=>" {print $3}' >"$WORK/list"
  if grep -v "^$WORK/" "$WORK/list" >&2; then die "smbtorture $VERSION needs what is in none of its packages"; fi
  xargs -a "$WORK/list" cp -L -t "$WORK/done/libraries"
  cp -L "$loader" "$WORK/done/loader"
  cp "$WORK/root/usr/bin/smbtorture" "$WORK/done/program"
  cat >"$WORK/done/smbtorture" <<'PROGRAM'
#!/bin/sh
here=$(dirname "$(realpath "$0")")
exec "$here/loader" --library-path "$here/libraries" "$here/program" "$@"
PROGRAM
  chmod +x "$WORK/done/smbtorture"
  "$WORK/done/smbtorture" -V >"$WORK/log" 2>&1 || { cat "$WORK/log" >&2; die "smbtorture $VERSION does not run here"; }
  rm -rf "$directory"
  mv "$WORK/done" "$directory"
  say "ready: smbtorture $VERSION in $directory"
fi
echo "$directory/smbtorture"
