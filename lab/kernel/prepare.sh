#!/bin/bash
# What `make lab` prepares, once: Linux as an ordinary program (ARCH=um) with the cifs client, ksmbd, SMB Direct,
# soft-RoCE and siw, from Debian's newest kernel source, and ksmbd's tools; all below one cache directory.
#   lab/kernel/prepare.sh              builds what is not there yet; the last line on stdout is its directory
#   KERNEL=6.12 lab/kernel/prepare.sh  the kernel of that series instead
#   lab/kernel/prepare.sh --find 6.12  prints the directory of what is built of a series; builds nothing
# Nothing is installed but missing packages; nothing needs root but they.  USMBD_LAB_CACHE names another cache.
# Exit status 77: this machine is none for the lab (it runs no programs of amd64), nothing is wrong.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=lab/packages.sh
. lab/packages.sh

CACHE=$(realpath -m "${USMBD_LAB_CACHE:-${XDG_CACHE_HOME:-$(echo ~)/.cache}/usmbd-lab}")
KERNEL=${KERNEL:-}
SUITES=(bookworm trixie trixie-backports) # the newest kernels that Debian tends, and its stable one
TOOLS=ksmbd-tools/bookworm                # the oldest: it runs with the C library of any newer machine
RECIPE=1       # raise it when this script builds something else from the same source and options
NEEDS_MIB=2200 # sources and objects while it builds, two trees of them

case "$CACHE/" in
  /tmp/* | /var/tmp/* | /run/* | /dev/shm/*) die "the lab's cache cannot be $CACHE: a guest does not see it (set USMBD_LAB_CACHE)" ;;
  *[!A-Za-z0-9._/+-]*) die "the lab's cache cannot be $CACHE: make builds in no such path (set USMBD_LAB_CACHE)" ;;
esac

case "$KERNEL" in
  '' | [0-9].[0-9] | [0-9].[0-9][0-9]) ;;
  *) die "KERNEL is a series, such as 6.12, and not $KERNEL" ;;
esac

# One build for each series, options and recipe: another line in `options` is another kernel.
key() { { echo "$RECIPE"; grep -v '^#' lab/kernel/options; } | sha256sum | cut -c1-8; }

# The newest built kernel of the series; where none is named, of those that were not built because one was.
built() {
  local ready
  for ready in $({ compgen -G "$CACHE/linux-${1:-*}-$(key)/ready" || true; } | sort -rV); do
    if [ -n "${1:-}" ] || ! [ -e "${ready%/*}/asked-for" ]; then echo "${ready%/*}"; return; fi
  done
}

if [ "${1:-}" = --find ]; then
  built "${2:-}"
  exit
fi

# What boots a guest and works inside it; what builds the kernel.
run_tools() {
  need mount.cifs:cifs-utils ip:iproute2 rdma:iproute2 ibv_devinfo:ibverbs-utils rping:rdmacm-utils tcpdump:tcpdump \
    fio:fio git:git tar:tar sysctl:procps setsid:util-linux
  need request-key:keyutils # which the kernel calls for tickets
  need_file '/usr/lib/*/libibverbs/librxe-rdmav*.so' ibverbs-providers
  need_file '/usr/lib/*/librdmacm.so.1' librdmacm1
  need_file '/usr/lib/*/libnl-genl-3.so.200' libnl-genl-3-200 # ksmbd.mountd
  need_file '/usr/lib/*/libglib-2.0.so.0' libglib2.0-0
}
build_tools() {
  need gcc:gcc make:make bc:bc flex:flex bison:bison xz:xz-utils tar:tar strip:binutils
  need_file '/usr/include/libelf.h' libelf-dev
  need_file '/usr/include/openssl/ssl.h' libssl-dev
  need_file /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
}

# The newest series that there is a source package of, where none was asked for.
find_series() {
  local there
  there=$(apt-cache "${APT[@]}" search --names-only '^linux-source-[0-9]+\.[0-9]+$' | awk '{sub("linux-source-", ""); print $1}' | sort -V)
  SERIES=${KERNEL:-$(tail -n 1 <<<"$there")}
  [ -n "$SERIES" ] && grep -qxF "$SERIES" <<<"$there" ||
    die "there is no linux-source-$SERIES in ${SUITES[*]}, but: $(xargs <<<"$there")"
}

download() {
  local version
  version=$(apt-cache "${APT[@]}" policy "linux-source-$SERIES" | awk '/Candidate:/ {print $2}')
  say "fetching the source of Linux $version (about 160 MB)"
  (cd "$WORK" && apt-get "${APT[@]}" download "linux-source-$SERIES" "$TOOLS") >"$WORK/log" 2>&1 ||
    { tail -n 5 "$WORK/log" >&2; die "apt-get download failed: is there a way to the mirror of $CACHE/apt/sources.list (http_proxy)?"; }
  for package in "$WORK"/*.deb; do dpkg-deb -x "$package" "$WORK/root"; done
  rm -f "$WORK"/*.deb
  tar -C "$WORK" -xf "$WORK/root/usr/src/linux-source-$SERIES.tar.xz"
}

# Before 6.13 a thread's extended registers had room for 2,696 bytes, in a structure on the kernel's stack; a processor
# with AMX has 11,008, and no program would start in the guest.
make_room_for_registers() {
  local offsets=$WORK/linux-source-$SERIES/arch/x86/um/user-offsets.c
  if grep -q 'HOST_FP_SIZE, 2696' "$offsets"; then
    sed -i 's/HOST_FP_SIZE, 2696/HOST_FP_SIZE, 12288/' "$offsets"
    "$WORK/linux-source-$SERIES/scripts/config" --file "$WORK/out/.config" --set-val KERNEL_STACK_ORDER 4
  fi
}

# tinyconfig and lab/kernel/options; an option that the kernel does not take is an error, for it would be missed later.
configure() {
  local source=$WORK/linux-source-$SERIES line name value optional arguments=() asked=()
  make -s -C "$source" ARCH=um O="$WORK/out" tinyconfig >"$WORK/log" 2>&1 || failed
  while IFS= read -r line; do
    optional=${line##*[!?]} line=${line%\?}
    name=${line%%=*}
    case "$line" in
      '' | '#'*) continue ;;
      *=n) arguments+=(-d "$name"); continue ;;
      *=*) arguments+=(--set-val "$name" "${line#*=}") value=${line#*=} ;;
      *) arguments+=(-e "$name") value=y ;;
    esac
    if [ -z "$optional" ]; then asked+=("CONFIG_$name=$value"); fi
  done <lab/kernel/options
  (cd "$WORK/out" && "$source/scripts/config" "${arguments[@]}")
  make_room_for_registers
  make -s -C "$WORK/out" ARCH=um olddefconfig >"$WORK/log" 2>&1 </dev/null || failed
  for line in "${asked[@]}"; do
    grep -qxF "$line" "$WORK/out/.config" || die "Linux $SERIES does not take ${line#CONFIG_} (lab/kernel/options)"
  done
}

# What went wrong, which may stand far above make's last words: processors work beside each other.
failed() {
  grep -nE 'error:|undefined reference|\*\*\* ' "$WORK/log" | head -n 20 >&2 || true
  tail -n 5 "$WORK/log" >&2
  die "Linux $SERIES does not build"
}

# A few minutes: say how far it is, by the objects that are there.
build() {
  local source=$WORK/linux-source-$SERIES began=$SECONDS
  say "building Linux $SERIES as a program on $(nproc) processors (5 minutes on two)"
  make -C "$WORK/out" ARCH=um KBUILD_BUILD_TIMESTAMP="$(date -u +%F)" -j"$(nproc)" linux >"$WORK/log" 2>&1 &
  compile=$!
  while kill -0 $compile 2>/dev/null; do
    sleep 1
    if [ $(((SECONDS - began) % 20)) = 0 ]; then
      say "  $((SECONDS - began)) s: $(grep -c '^  \(CC\|AS\|AR\|LD\) ' "$WORK/log") objects, now $(tail -n 1 "$WORK/log" | awk '{print $2}')"
    fi
  done
  wait $compile || failed
  mkdir "$WORK/done"
  strip -o "$WORK/done/linux" "$WORK/out/linux"
  cp "$WORK/out/.config" "$WORK/done/config"
  mkdir "$WORK/done/ksmbd-tools"
  cp -r "$WORK/root/usr/sbin" "$WORK/root/usr/libexec" "$WORK/done/ksmbd-tools/"
  make -s -C "$WORK/out" ARCH=um kernelrelease 2>/dev/null | tail -n 1 >"$WORK/done/ready"
  if [ -n "$KERNEL" ]; then touch "$WORK/done/asked-for"; fi
}

# End what builds, which the shell lets ignore a ^C, and take away what it has made.
clean_up() {
  if [ -n "${compile:-}" ] && kill "$compile" 2>/dev/null; then wait "$compile" || true; fi
  rm -rf "$WORK"
}

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  say "no lab on $(uname -sm): a kernel as a program runs on amd64 alone"
  exit 77
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  say "no lab without apt-get: the kernel's source comes from Debian's packages"
  exit 77
fi
run_tools
directory=$(built "$KERNEL")
if [ -z "$directory" ]; then
  { mkdir -p "$CACHE" && : >>"$CACHE/lock"; } || die "the lab's cache $CACHE cannot be written (set USMBD_LAB_CACHE)"
  exec 8>"$CACHE/lock"
  # Two preparations at once: the second finds all done.
  flock -n 8 || { say "waiting for another preparation of the lab"; flock 8; }
  directory=$(built "$KERNEL")
fi
if [ -z "$directory" ]; then
  build_tools
  install_needed
  rm -rf "$CACHE"/work.*
  if [ "$(df -Pm "$CACHE" | awk 'NR == 2 {print $4}')" -lt $NEEDS_MIB ]; then
    die "the lab's kernel needs $NEEDS_MIB MiB in $CACHE while it is built (set USMBD_LAB_CACHE)"
  fi
  WORK=$(mktemp -d "$CACHE/work.XXXXXX")
  trap clean_up EXIT
  private_apt "$CACHE/apt" "${SUITES[@]}"
  find_series
  directory=$CACHE/linux-$SERIES-$(key)
  if [ -e "$directory/ready" ]; then # it was asked for by its name, and is the newest
    rm -f "$directory/asked-for"
  else
    download
    configure
    build
    rm -rf "$directory"
    mv "$WORK/done" "$directory"
    say "ready: Linux $(cat "$directory/ready") in $directory"
  fi
fi
install_needed
echo "$directory"
