#!/bin/bash
# `make lab-shell`: usmbd is started, and a prompt says what to try.
set -u
echo "usmbd starts, which takes a minute here"
usmbd.sh start && echo "usmbd serves //10.99.0.1/data (share/usmbd here), user lab, password pw:"
cat <<'F'
  mount -t cifs //10.99.0.1/data mnt -o username=lab,password=pw,port=5445   over TCP
  mount -t cifs //10.99.0.1/data mnt -o username=lab,password=pw,rdma        over SMB Direct
  usmbd.control -l        who is connected;  --rdma: where RDMA is used
  usmbd.sh stop | kill | kill-workers | start        ksmbd.sh start: the peer, at 10.99.0.3, port=1445 or rdma
  tail log/usmbd.log      dmesg | tail
  $PROJECT/lab has rxe/ and capture/                 exit: powers the guest off
F
exec bash -i
