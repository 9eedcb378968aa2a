#!/bin/bash
# The kernel's ksmbd in the guest, the peer: ksmbd.sh start | stop.  10.99.0.3, port 1445 (RDMA: 445),
# share "data", user lab, password pw.
set -u
state=$DATA/ksmbd tools=$LAB_KERNEL/usr/sbin
mkdir -p "$state"

case "${1:-}" in
  start)
    cat >"$state/ksmbd.conf" <<F
[global]
 workgroup = LAB
 tcp port = 1445
 server multi channel support = yes
[data]
 path = $DATA/share/ksmbd
 read only = no
 create mask = 0777
 directory mask = 0777
 vfs objects = acl_xattr streams_xattr
F
    if ! [ -e "$state/ksmbdpwd.db" ]; then
      touch "$state/ksmbdpwd.db"
      "$tools/ksmbd.adduser" -a lab -p pw -i "$state/ksmbdpwd.db" -c "$state/ksmbd.conf" || exit
    fi
    "$tools/ksmbd.mountd" -c "$state/ksmbd.conf" -u "$state/ksmbdpwd.db" >>"$DATA/log/ksmbd.log" 2>&1
    # The port is open when the kernel has its configuration.
    for _ in $(seq 600); do
      if (: <>/dev/tcp/127.0.0.1/1445) 2>/dev/null; then exit 0; fi
      sleep 0.1
    done
    exit 1
    ;;
  stop) "$tools/ksmbd.control" -s ;;
  *) sed -n '2,3s/^# //p' "$0"; exit 2 ;;
esac
