# Debian packages for the scripts of this folder, which source it: say what is done, install what is missing.
# shellcheck shell=bash

say() { printf 'usmbd setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Install Debian packages; not root: say which command does it.
apt_install() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "needs packages: sudo apt-get install $*"
  fi
  say "apt-get install $*"
  export DEBIAN_FRONTEND=noninteractive
  # No service may start while its package is configured: Debian's own smbd would take port 445.
  local policy=/usr/sbin/policy-rc.d saved=
  if [ -e $policy ]; then saved=$policy.usmbd-saved; mv $policy $saved; fi
  # shellcheck disable=SC2064  # the values of now
  trap "rm -f $policy; [ -z '$saved' ] || mv '$saved' $policy" EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
  local options=(-y -q --no-install-recommends -o Dpkg::Use-Pty=0)
  # A bare machine has no package lists, or lists of versions that are gone: then fetch them.
  apt-get install "${options[@]}" "$@" >/dev/null 2>&1 ||
    { apt-get update -q >/dev/null && apt-get install "${options[@]}" "$@" >/dev/null; } ||
    die "apt-get install $* failed"
  rm -f $policy; [ -z "$saved" ] || mv "$saved" $policy
  trap - EXIT
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
