#!/bin/bash
# smbd of another release of Debian, for `make torture SMBD=4.25 SMBTORTURE=4.25 ARGS='--server smbd ...'`: its packages are
# unpacked below the lab's cache, and its programs run with that as their root, as they look for their modules there. Nothing is
# installed; root alone can run them.
#   lab/smbd.sh 4.25             the newest 4.25 that Debian has; the last line on stdout is a program that runs its programs
# USMBD_LAB_CACHE names another cache.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=lab/packages.sh
. lab/packages.sh

CACHE=$(realpath -m "${USMBD_LAB_CACHE:-${XDG_CACHE_HOME:-$(echo ~)/.cache}/usmbd-lab}")

series=${1:?lab/smbd.sh 4.25}
case "$series" in
  *[!0-9.]*) die "SMBD is a series of Samba, such as 4.25; not $series" ;;
esac

directory=$CACHE/smbd-$series
if ! [ -x "$directory/run" ]; then
  begin_unpacking "$CACHE"
  unpack_series samba "$series" "$WORK"
  root=$WORK/root
  for name in bin sbin lib lib64; do
    [ -e "$root/$name" ] || ! [ -e "$root/usr/$name" ] || ln -s "usr/$name" "$root/$name"
  done
  mkdir -p "$root"/var/{tmp,run,cache/samba,lib/samba,log/samba}
  cat >"$WORK/run" <<'PROGRAM'
#!/bin/sh
# run PROGRAM...: with the root beside this file, all else of the machine at its place, and the machine's users.
export ROOT="$(dirname "$(realpath "$0")")/root"
exec unshare -m sh -ec '
  mount --make-rprivate /
  for place in /*; do
    case $place in
      /bin | /sbin | /lib* | /usr | /etc | /var) ;;
      *) ! [ -d "$place" ] || [ -L "$place" ] || { mkdir -p "$ROOT$place" && mount --rbind "$place" "$ROOT$place"; } ;;
    esac
  done
  mount --rbind /var/tmp "$ROOT/var/tmp"
  for name in passwd group nsswitch.conf hosts; do cp "/etc/$name" "$ROOT/etc/$name"; done
  exec chroot "$ROOT" "$@"' sh "$@"
PROGRAM
  chmod +x "$WORK/run"
  rm -rf "$WORK/archives" "$directory"
  mkdir "$WORK/done"
  mv "$WORK/root" "$WORK/run" "$WORK/done"
  mv "$WORK/done" "$directory"
  say "ready: smbd $VERSION in $directory"
fi
echo "$directory/run"
