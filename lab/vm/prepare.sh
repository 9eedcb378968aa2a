#!/bin/bash
# What `make lab` prepares, once: Debian's kernel, cifs.ko and ksmbd.ko rebuilt with SMB Direct, ksmbd's
# tools and virtme-ng, all below one cache directory (printed when done; USMBD_LAB_CACHE names another).
# Nothing of the kernel is installed on this machine: its packages are unpacked beside it.
# Done before: it returns within a moment.  The last line on stdout is the directory for this kernel.
# Exit status 77: this machine is none that has such a kernel (Debian 12 or 13 on amd64), nothing is wrong.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=lab/packages.sh
. lab/packages.sh

CACHE=${USMBD_LAB_CACHE:-${XDG_CACHE_HOME:-$(echo ~)/.cache}/usmbd-lab}
CACHE=$(realpath -m "$CACHE")
SERIES=6.12             # Debian's long-term series that has rxe, ksmbd and SMB Direct's latest fixes
RECIPE=1                # raise it when this script builds something else from the same packages
VIRTME='>=1.42,<2'      # the first that was tried here

# In a guest /tmp is the host's only by an overlay and /var/tmp is empty.
case "$CACHE/" in
  /tmp/* | /var/tmp/* | /run/*) die "the lab's cache cannot be $CACHE: a guest does not see it (set USMBD_LAB_CACHE)" ;;
  *[!A-Za-z0-9._/+-]*) die "the lab's cache cannot be $CACHE: make builds in no such path (set USMBD_LAB_CACHE)" ;;
esac

# command:package of what boots a guest, builds modules and works inside the guest.
tools() {
  need qemu-system-x86_64:qemu-system-x86 busybox:busybox-static depmod:kmod mkfs.ext4:e2fsprogs bc:bc make:make \
    xz:xz-utils mount.cifs:cifs-utils rdma:iproute2 ibv_devinfo:ibverbs-utils rping:rdmacm-utils \
    tcpdump:tcpdump fio:fio git:git tar:tar sysctl:procps
  need_file '/usr/lib/*/libibverbs/librxe-rdmav*.so' ibverbs-providers
  need_file '/usr/lib/*/librdmacm.so.1' librdmacm1
  need_file '/usr/lib/*/libelf.so.1' libelf1 # objtool, of the kernel's build tools
  need_file '/usr/include/*/sys/types.h' libc6-dev
  need_file '/usr/lib/*/libnl-genl-3.so.200' libnl-genl-3-200 # ksmbd.mountd
  need_file '/usr/lib/*/libglib-2.0.so.0' libglib2.0-0
  install_needed
}

# The newest kernel of the series whose image, headers and source all are to be had in one version.
find_kernel() {
  SOURCE_VERSION=$(apt-cache policy "linux-source-$SERIES" 2>/dev/null | awk '/Candidate:/ {print $2}')
  [ -n "$SOURCE_VERSION" ] && [ "$SOURCE_VERSION" != "(none)" ] || return 1
  local kernels kernel
  local pattern="^linux-image-${SERIES//./\\.}\\.[0-9]+\\+deb[0-9+]+-amd64-unsigned\$"
  mapfile -t kernels < <(apt-cache search --names-only "$pattern" |
    awk '{print $1}' | sed 's/^linux-image-//; s/-unsigned$//' | sort -rV)
  for kernel in "${kernels[@]}"; do
    if apt-cache policy "linux-image-$kernel-unsigned" | grep -F "$SOURCE_VERSION" >/dev/null; then
      KERNEL=$kernel
      return 0
    fi
  done
  return 1
}

# A bare machine has no package lists, or lists of versions that are gone.
refresh() { if [ "$(id -u)" = 0 ]; then apt-get update -q >/dev/null 2>&1 || true; fi; }

download() {
  say "fetching Linux $KERNEL ($SOURCE_VERSION), about 280 MB"
  local packages=("linux-image-$KERNEL-unsigned" "linux-headers-$KERNEL" "linux-headers-${KERNEL%-amd64}-common"
    "linux-kbuild-${KERNEL%-amd64}" "linux-source-$SERIES")
  rm -rf "$WORK/packages" && mkdir "$WORK/packages"
  (cd "$WORK/packages" && apt-get download -q "${packages[@]/%/=$SOURCE_VERSION}" ksmbd-tools) >"$WORK/log" 2>&1
}

unpack() {
  say "unpacking"
  local package
  for package in "$WORK"/packages/*.deb; do dpkg-deb -x "$package" "$ROOT"; done
  rm -rf "$WORK/packages"
}

# cifs.ko and ksmbd.ko as Debian builds them, but with SMB Direct (Debian's configuration has it off).
build_modules() {
  local headers=$ROOT/usr/src/linux-headers-$KERNEL source=$ROOT/usr/src/linux-source-$SERIES compiler grammar module
  compiler=$(sed -n 's/^CC = .*\(gcc-[0-9]*\)$/\1/p' "$headers/.kernelvariables") # the kernel's own
  [ -n "$compiler" ] || die "no compiler is named in $headers/.kernelvariables"
  command -v "$compiler" >/dev/null || { need "$compiler:$compiler"; install_needed; }
  say "building cifs.ko and ksmbd.ko with SMB Direct (a minute or two)"
  sed -i "s,include /usr/src/,include $ROOT/usr/src/," "$headers/Makefile"
  local top=linux-source-$SERIES
  tar -C "$ROOT/usr/src" -xf "$source.tar.xz" "$top/fs/smb" "$top/scripts/asn1_compiler.c" "$top/include/linux" \
    "$top/fs/nls"
  (
    cd "$source" || exit # `set -e` is off before ||
    # Modules outside the tree have no rule for ASN.1.
    "$compiler" -O2 -Iinclude -o asn1_compiler scripts/asn1_compiler.c || exit
    for grammar in fs/smb/*/*.asn1; do ./asn1_compiler "$grammar" "$grammar.c" "$grammar.h" || exit; done
    make -C "$headers" M="$PWD/fs/smb" -j"$(nproc)" CONFIG_DEBUG_INFO_BTF_MODULES= CONFIG_SMBFS=m CONFIG_CIFS=m \
      CONFIG_CIFS_SMB_DIRECT=y CONFIG_SMB_SERVER=m CONFIG_SMB_SERVER_SMBDIRECT=y \
      KCFLAGS='-DCONFIG_CIFS_SMB_DIRECT=1 -DCONFIG_SMB_SERVER_SMBDIRECT=1' modules
  ) >"$WORK/log" 2>&1 || { tail -n 20 "$WORK/log" >&2; die "the modules do not build"; }
  # `updates` goes before Debian's own modules of the same name.
  mkdir -p "$ROOT/lib/modules/$KERNEL/updates"
  find "$source/fs/smb" -name '*.ko' | while read -r module; do
    strip --strip-debug "$module" -o "$ROOT/lib/modules/$KERNEL/updates/${module##*/}"
  done
  depmod -b "$ROOT" "$KERNEL"
  rm -rf "$ROOT/usr/src" "$ROOT/usr/lib/linux-kbuild-"*
}

# virtme-ng boots this machine's own root file system, read-only, as the guest's.
install_virtme() {
  # It is this Python's: one that Debian has replaced since finds no packages in it.
  [ -e "$CACHE/virtme/ready" ] && "$CACHE/virtme/bin/python" -c 'import virtme_ng' 2>/dev/null && return
  say "installing virtme-ng"
  local python=/usr/bin/python3
  [ -x $python ] || python=python3
  $python -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
  rm -rf "$CACHE/virtme"
  $python -m venv "$CACHE/virtme"
  "$CACHE/virtme/bin/pip" --disable-pip-version-check install -q --retries 10 "virtme-ng$VIRTME" \
    2>"$CACHE/virtme.log" ||
    { tail -n 5 "$CACHE/virtme.log" >&2; die "pip install virtme-ng failed"; }
  touch "$CACHE/virtme/ready"
}

mkdir -p "$CACHE"
exec 8>"$CACHE/lock"
# Two preparations at once: the second finds all done.
flock -n 8 || { say "waiting for another preparation of the lab"; flock 8; }
# What was built stays in use: remove its folder to have Debian's newest kernel.
ready=$(ls -1d "$CACHE"/linux-*-r$RECIPE/ready 2>/dev/null | sort -V | tail -n 1 || true)
if [ -n "$ready" ]; then
  KERNEL=$(cat "$ready")
elif ! find_kernel && ! { refresh && find_kernel; }; then
  if ! grep -qx 'ID=debian' /etc/os-release || [ "$(uname -m)" != x86_64 ]; then
    say "no linux-source-$SERIES for amd64 here: the lab needs Debian 12 or 13"
    exit 77
  fi
  die "linux-source-$SERIES is not to be had: the lab needs Debian 12 or 13 (try: sudo apt-get update)"
fi
tools
install_virtme
if [ -z "$ready" ]; then
  rm -rf "$CACHE"/work.*
  WORK=$(mktemp -d "$CACHE/work.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  download || { refresh && find_kernel && download; } ||
    { tail -n 5 "$WORK/log" >&2; die "apt-get download failed (try: sudo apt-get update)"; }
fi
ROOT=$CACHE/linux-$KERNEL-r$RECIPE
if [ -z "$ready" ]; then
  rm -rf "$ROOT"
  mkdir "$ROOT"
  unpack
  build_modules
  echo "$KERNEL" >"$ROOT/ready"
  say "ready: $ROOT"
fi
echo "$ROOT"
