#!/bin/bash
# What `make setup` and `make test` install.  lab/setup.sh venv | dev | test | peer
#   venv  .venv with usmbd in it, editable; nothing else on the machine changes unless python3-venv is missing
#   dev   the same and the development tools of pyproject.toml
#   test  the same and the Debian packages the interoperability tests drive
#   peer  the same, for the tests that run against Samba's smbd
# Done before: it returns within a moment.  PYTHON=... names another interpreter.
set -euo pipefail
# ^C is not a failure of pip, which ends as after one and would be explained.
trap 'exit 130' INT
cd "$(dirname "$0")/.."

# shellcheck source=lab/packages.sh
. lab/packages.sh

# Two at once in one clone would remove each other's .venv: the second finds all done.
exec 8<pyproject.toml
flock 8

fits() { command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Can make a virtual environment, or gets there: Debian keeps ensurepip in a package of its own.
complete() {
  "$1" -c 'import ensurepip' 2>/dev/null || { [ "$(id -u)" = 0 ] && [ "${1#/usr/bin/}" != "$1" ]; }
}

# Microseconds of CPU for calls, attributes and small objects, what serving a request is made of: the best of many.
pace() {
  "$1" -c '
import time

class Request:
    __slots__ = ("header",)

    def __init__(self, header):
        self.header = header

    def charge(self, least):
        return max(self.header, least)

def serve(count):
    for number in range(count):
        request = Request(number)
        if isinstance(request, Request):
            request.charge(1)

def once():
    begin = time.process_time()
    serve(10000)
    return time.process_time() - begin

print(int(min(once() for _ in range(25)) * 1e6))'
}

# The first that is not clearly slower than another. Debian built its own with profile-guided optimization, pyenv
# builds without, and then every request takes the server 1.3 times the CPU. They race twice, for the machine may
# be busy with something else. Debian's comes first: its pyverbs, which SMB Direct needs, fits no other.
find_python() {
  local candidate file time best='' candidates=()
  local -A paces=() known=()
  if fits "${PYTHON:-}"; then command -v "$PYTHON"; return; fi
  for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
    fits "$candidate" && complete "$candidate" && file=$(readlink -f "$(command -v "$candidate")") || continue
    if [ -z "${known[$file]:-}" ]; then known[$file]=1; candidates+=("$candidate"); fi
  done
  if [ ${#candidates[@]} = 1 ]; then command -v "${candidates[@]}"; return; fi
  for candidate in "${candidates[@]}" "${candidates[@]}"; do
    time=$(pace "$candidate") || continue
    if [ "$time" -lt "${paces[$candidate]:-999999}" ]; then paces[$candidate]=$time; fi
  done
  for candidate in "${candidates[@]}"; do
    time=${paces[$candidate]:-} && [ -n "$time" ] || continue
    if [ -z "$best" ] || [ $((time * 10)) -lt $((${paces[$best]} * 9)) ]; then best=$candidate; fi
  done
  [ -n "$best" ] && command -v "$best"
}

# What an installation depends on: when it changes, pip runs again.
key() { { sha256sum pyproject.toml; pwd -P; .venv/bin/python -V; } | sha256sum; }
stamped() { [ -s ".venv/.usmbd-$1" ] && [ "$(cat ".venv/.usmbd-$1")" = "$(key)" ]; }
stamp() { key >".venv/.usmbd-$1"; }

pip() {
  .venv/bin/python -m pip --disable-pip-version-check install -q --retries 10 --root-user-action ignore "$@" ||
    die "pip could not install what is needed: is there a way to a package index (PIP_INDEX_URL, https_proxy)?"
}

make_interpreter() {
  if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    local python
    if ! python=$(find_python); then
      apt_install python3 python3-venv
      python=$(find_python) || die "needs Python 3.11 or newer (set PYTHON=/path/to/python3)"
    fi
    # Debian keeps ensurepip in a package of its own.
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
      case "$(readlink -f "$python")" in
        /usr/bin/*) apt_install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" ;;
        *) die "$python has no ensurepip: install it, or set PYTHON=/usr/bin/python3" ;;
      esac
    fi
    say "creating .venv with $("$python" -V)"
    rm -rf .venv
    "$python" -m venv .venv
  fi
}

make_venv() {
  make_interpreter
  if ! stamped venv; then
    say "installing usmbd into .venv"
    pip -e .
    stamp venv
  fi
  link_libraries
}

link_libraries() {
  link_debian pyverbs '*' # the one on PyPI does not fit Debian's libibverbs
  link_debian gssapi 'raw/*' decorator.py # PyPI has no wheels: it would need a compiler and MIT's headers
}

# link_debian PACKAGE GLOB FILE...: link a Python package of Debian's, with files that it imports, into .venv when its
# libraries (GLOB, within it) are for this interpreter.
link_debian() {
  local site suffix link name source=/usr/lib/python3/dist-packages
  site=$(echo .venv/lib/python3*/site-packages)
  suffix=$(basename "$(dirname "$site")")            # python3.11
  suffix=cpython-${suffix#python}; suffix=${suffix/./}  # cpython-311
  for name in "$1" "${@:3}"; do
    link=$site/$name
    if [ -L "$link" ] && ! [ -e "$link" ]; then rm -f "$link"; fi
    if ! [ -e "$link" ] && [ -e "$source/$name" ] && compgen -G "$source/$1/$2.$suffix-*.so" >/dev/null; then
      ln -s "$source/$name" "$link"
      say "linked $source/$name into .venv"
    fi
  done
}

# One run of pip for usmbd and the tools: it asks for, and looks at, each package once. It compiles nothing, which takes
# 3 s for what is never imported; what a server imports is compiled, usmbd meanwhile on another core.
make_dev() {
  make_interpreter
  if ! stamped dev; then
    say "installing usmbd and the development tools into .venv"
    local compiling
    .venv/bin/python -m compileall -q transport protocol mountd &
    compiling=$!
    pip --no-compile 'pip>=25.1' # the first that knows dependency groups
    pip --no-compile -e . --group dev
    # Where these fail, time is lost and nothing else.
    wait "$compiling" || true
    PYTHONDONTWRITEBYTECODE='' .venv/bin/python 2>/dev/null -c '
from usmbd.protocol.supervisor import fork_server
fork_server.import_all()' || true
    stamp venv
    stamp dev
  fi
  link_libraries
}

pyverbs_package() { need_file /usr/lib/python3/dist-packages/pyverbs python3-pyverbs; }

test_packages() {
  need smbclient:smbclient rpcclient:smbclient smbd:samba smbtorture:samba-testsuite tshark:tshark setfattr:attr mkfs.btrfs:btrfs-progs mkfs.xfs:xfsprogs
  /usr/bin/python3 -c 'import samba' 2>/dev/null || NEEDED+=(python3-samba)
  pyverbs_package
  need krb5kdc:krb5-kdc kadmin.local:krb5-admin-server kinit:krb5-user
  need_file /usr/lib/python3/dist-packages/gssapi python3-gssapi
  need_file /usr/share/samba/setup/provision.ldif samba-ad-provision
  need_file '/usr/lib/*/samba/ldb/samba_dsdb.so' samba-dsdb-modules
  need_file '/usr/lib/*/samba/service/kdc.so' samba-ad-dc # Debian 12 has it in samba
  need_file '/usr/lib/*/samba/vfs/streams_xattr.so' samba-vfs-modules
  need wsdd:wsdd ip:iproute2
  install_needed
}

case "${1:-}" in
  venv) make_venv ;;
  dev) make_dev ;;
  lab) pyverbs_package; install_needed; make_dev ;;
  test) test_packages; make_dev ;;
  peer) test_packages; make_dev ;;
  *) sed -n '2,7s/^# //p' "$0"; exit 2 ;;
esac
