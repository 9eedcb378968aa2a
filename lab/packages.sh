# Debian packages for the scripts of this folder, which source it: say what is done, install what is missing, reach
# packages of other releases.
# shellcheck shell=bash

say() { printf 'usmbd setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Install Debian packages; not root: say which command does it.
apt_install() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "needs packages: sudo apt-get install $*"
  fi
  say "apt-get install $*"
  # A shell of its own, for its trap and its lock: the policy below must not outlive it, and two at once would
  # take each other's for the machine's.
  (
    exec 9>/run/usmbd-setup.lock
    flock 9
    export DEBIAN_FRONTEND=noninteractive
    # No service may start while its package is configured: Debian's own smbd would take port 445.
    policy=/usr/sbin/policy-rc.d
    if ! [ -e $policy.usmbd-saved ] && [ -e $policy ]; then mv $policy $policy.usmbd-saved; fi
    trap 'rm -f $policy; if [ -e $policy.usmbd-saved ]; then mv $policy.usmbd-saved $policy; fi' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
    options=(-y -q --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
    # A bare machine has no package lists, or lists of versions that are gone: then fetch them.
    apt-get install "${options[@]}" "$@" >/dev/null 2>&1 ||
      { apt-get update -q >/dev/null && apt-get install "${options[@]}" "$@" >/dev/null; }
  ) || die "apt-get install $* failed"
}

NEEDED=()

# need COMMAND:PACKAGE...: note the packages whose command is not there.
need() {
  local pair
  for pair in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || NEEDED+=("${pair##*:}")
  done
}

# need_file GLOB PACKAGE: note the package when no such file is there.
need_file() { compgen -G "$1" >/dev/null || NEEDED+=("$2"); }

# Install what was noted.
install_needed() {
  if [ ${#NEEDED[@]} -gt 0 ]; then
    mapfile -t NEEDED < <(printf '%s\n' "${NEEDED[@]}" | sort -u)
    apt_install "${NEEDED[@]}"
    NEEDED=()
  fi
}

# private_apt DIRECTORY SUITE...: set APT to options for apt with lists of its own in DIRECTORY, so that a Debian 12 (or
# Ubuntu) machine reaches newer suites and is not changed.
private_apt() {
  local directory=$1 mirror suite
  shift
  mkdir -p "$directory"/{lists,archives}/partial
  # The mirror that this machine uses, whatever form its own list has.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    grep -E '/debian/?$' | head -n 1 || true)
  for suite in "$@"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $suite main"
  done >"$directory/sources.list"
  APT=(-q -o "Dir::Etc::sourcelist=$directory/sources.list" -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root
    -o "Dir::State::lists=$directory/lists" -o "Dir::Cache=$directory" -o Acquire::Languages=none -o Acquire::Retries=5)
  apt-get "${APT[@]}" update >"$directory/log" 2>&1 ||
    { tail -n 5 "$directory/log" >&2; die "apt-get update failed for the lab's own list, $directory/sources.list"; }
  # Where it reaches nobody it only warns, and goes on with the lists of last time.
  compgen -G "$directory/lists/*_Packages*" >/dev/null ||
    { tail -n 3 "$directory/log" >&2; die "no list of packages came: is there a way to the mirror of $directory/sources.list (http_proxy)?"; }
}

# begin_unpacking CACHE: make WORK, a directory below the lab's cache that goes with the script, and reach the packages of
# all releases that may have what is asked for; one script at a time.
begin_unpacking() {
  need dpkg-deb:dpkg
  need_file /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
  install_needed
  mkdir -p "$1"
  exec 8>"$1/lock"
  flock 8
  WORK=$(mktemp -d "$1/work.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  private_apt "$1/apt-smbtorture" bookworm bookworm-backports trixie trixie-backports forky
}

# unpack_series PACKAGE SERIES DIRECTORY: unpack the newest PACKAGE of a series of Samba that Debian has, and all that it
# needs down to the C library, as on a machine that has nothing, below DIRECTORY/root; set VERSION. After private_apt.
unpack_series() {
  local package=$1 series=$2 directory=$3 suite archive
  read -r VERSION suite < <(apt-cache "${APT[@]}" madison "$package" |
    awk -v series="2:$series." 'index($3, series) == 1 {print $3, $6}' |
    sort -V | tail -n 1 | sed 's,/.*,,') || true
  [ -n "${suite:-}" ] || die "Debian has no $package $series in the suites of its list"
  say "fetching $package $VERSION and what it needs"
  mkdir -p "$directory"/{archives/partial,root}
  apt-get "${APT[@]}" -o Dir::State::status=/dev/null -o "Dir::Cache::archives=$directory/archives" -t "$suite" -y \
    --no-install-recommends --download-only install "$package" >"$directory/log" 2>&1 ||
    { tail -n 5 "$directory/log" >&2; die "apt-get download failed"; }
  for archive in "$directory"/archives/*.deb; do dpkg-deb -x "$archive" "$directory/root"; done
}
