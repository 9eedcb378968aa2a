#!/bin/bash
# `make lab-shell`: usmbd starts, and a prompt says what to try.
set -u
{ usmbd.sh start >/dev/null && echo "usmbd is ready"; } &
cat <<'F'
usmbd serves //10.99.0.1/data in a moment (the folder share here), user lab, password pw:
  mount -t cifs //10.99.0.1/data mnt -o username=lab,password=pw             over TCP
  mount -t cifs //10.99.0.1/data mnt -o username=lab,password=pw,rdma        over SMB Direct
  usmbd.control -l        who is connected;  --rdma: where RDMA is used
  usmbd.sh stop | kill | kill-workers | start        ksmbd.sh start: the peer, once usmbd has stopped
  tail log/usmbd.log      dmesg | tail
  $PROJECT/lab has rxe/ and capture/                 exit: ends the guest
F
PS1="\\h:\\w\\$ " exec bash --norc -i
