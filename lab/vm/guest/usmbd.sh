#!/bin/bash
# usmbd in the guest: usmbd.sh start | stop | kill | kill-workers | list | control OPTIONS...
# 10.99.0.1, 10.99.1.1 and fd99::1, port 5445, share "data", user lab, password pw.
# The kernel's client looks for SMB Direct at port 5445 and then at 445, whatever its options say; ksmbd has 445.
set -u
state=$DATA/usmbd
mkdir -p "$state"
configuration() {
  cat <<F
[global]
 workgroup = LAB
 workers = 2
 tcp port = 5445
 interfaces = 10.99.0.1 10.99.1.1 fd99::1
 bind interfaces only = yes
 state directory = $state/state
 max ip connections = 0
 server multi channel support = yes
[data]
 path = $DATA/share/usmbd
 read only = no
 create mask = 0777
 directory mask = 0777
 vfs objects = acl_xattr streams_xattr
F
}
files=(-C "$state/usmbd.conf" -P "$state/usmbdpwd.db")
program() { "$LAB_PYTHON" -c "import sys; from usmbd.$1 import main; sys.exit(main())" "${@:2}"; }

case "${1:-}" in
  start)
    if ! [ -e "$state/usmbd.conf" ]; then
      configuration >"$state/usmbd.conf"
      program mountd.cli.adduser -a -p pw "${files[@]}" lab || exit
    fi
    log=$DATA/log/usmbd.log
    touch "$log"
    before=$(stat -c %s "$log") # what an earlier server wrote
    program protocol.supervisor "${files[@]}" >>"$log" 2>&1 </dev/null &
    server=$!
    for _ in $(seq 1000); do
      if tail -c +$((before + 1)) "$log" | grep -q '^usmbd: ready'; then exit 0; fi
      kill -0 $server 2>/dev/null || break
      sleep 0.2
    done
    tail -c +$((before + 1)) "$log" >&2
    exit 1
    ;;
  stop)
    pid=$(cat "$state/state/usmbd.lock") && kill "$pid" || exit
    while [ -d "/proc/$pid" ]; do sleep 0.1; done
    ;;
  kill) pkill -9 -f 'usmbd\.(protocol|mountd)' ;;
  kill-workers) pkill -9 -f 'usmbd\.protocol\.worker' ;;
  list) program mountd.cli.control -l "${files[@]}" ;;
  control) program mountd.cli.control "${files[@]}" "${@:2}" ;;
  *) sed -n '2,4s/^# //p' "$0"; exit 2 ;;
esac
