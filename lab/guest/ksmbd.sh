#!/bin/bash
# The kernel's ksmbd in a guest, the peer: ksmbd.sh start | stop
# At all of the guest's addresses, port 445 (iWARP: 5445), share "data", user lab, password pw.
set -u
state=$DATA/ksmbd tools=$LAB_KERNEL/ksmbd-tools/sbin
mkdir -p "$state"

case "${1:-}" in
  start)
    if (: <>/dev/tcp/127.0.0.1/445) 2>/dev/null; then
      echo "port 445 is taken: usmbd.sh stop" >&2
      exit 1
    fi
    cat >"$state/ksmbd.conf" <<F
[global]
 workgroup = LAB
 tcp port = 445
 server multi channel support = yes
[data]
 path = $DATA/share
 read only = no
 create mask = 0777
 directory mask = 0777
 vfs objects = acl_xattr streams_xattr
F
    if ! [ -e "$state/ksmbdpwd.db" ]; then
      touch "$state/ksmbdpwd.db"
      "$tools/ksmbd.adduser" -a lab -p pw -i "$state/ksmbdpwd.db" -c "$state/ksmbd.conf" || exit
    fi
    "$tools/ksmbd.mountd" -c "$state/ksmbd.conf" -u "$state/ksmbdpwd.db" >>"$OUT/ksmbd.log" 2>&1
    # The port is open when the kernel has its configuration.
    for _ in $(seq 600); do
      if (: <>/dev/tcp/127.0.0.1/445) 2>/dev/null; then exit 0; fi
      sleep 0.1
    done
    exit 1
    ;;
  stop) "$tools/ksmbd.control" -s ;;
  *) sed -n '2,3s/^# //p' "$0"; exit 2 ;;
esac
