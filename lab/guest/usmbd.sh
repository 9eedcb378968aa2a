#!/bin/bash
# usmbd in a guest: usmbd.sh start | stop | kill | kill-workers | list | control OPTIONS...
# At all of the guest's addresses, port 445 (iWARP: 5445), share "data", user lab, password pw; "admin": the same as root.
# WORKERS says how many workers (2); lines in OPTIONS go into the section [global], in SHARE_OPTIONS into the share's.
set -u
state=$DATA/usmbd
[ -d "$state" ] || mkdir -p "$state" # few programs: each takes a guest 10 ms
configuration() {
  cat <<F
[global]
 workgroup = LAB
 workers = ${WORKERS:-2}
 tcp port = 445
 state directory = $state/state
 max ip connections = 0
 server multi channel support = yes
 multicast dns register = no
 ws discovery = no
${OPTIONS:-}
[data]
 path = $DATA/share
 read only = no
 create mask = 0777
 directory mask = 0777
 vfs objects = acl_xattr streams_xattr shadow_copy2
 compress data = yes
${SHARE_OPTIONS:-}
[admin]
 path = $DATA/share
 read only = no
 admin users = lab
F
}
files=(-C "$state/usmbd.conf" -P "$state/usmbdpwd.db")
program() { "$LAB_PYTHON" -c "import sys; from usmbd.$1 import main; sys.exit(main())" "${@:2}"; }

case "${1:-}" in
  start)
    if ! [ -e "$state/usmbd.conf" ]; then
      configuration >"$state/usmbd.conf"
      # What `usmbd.adduser -a -p pw lab` writes: to start a Python for it takes a guest 1.5 s.
      (umask 077 && echo 'lab:jMGbaoz+rCmcKHHIazjeKA==' >"$state/usmbdpwd.db")
    fi
    log=$OUT/usmbd.log
    : >>"$log"
    exec 3<"$log"
    mapfile -u 3 # what an earlier server wrote
    # Imported once, and forked for each start, with the environment of the first.
    server=
    if [ -e "$state/warm" ]; then read -r server <"$state/warm"; fi
    if ! kill -0 "$server" 2>/dev/null; then
      rm -f "$state"/{orders,answers} && mkfifo "$state"/{orders,answers}
      exec 5<>"$state/orders" # an order that nobody has open yet would be lost
      setsid "$LAB_PYTHON" "$PROJECT/lab/guest/warm.py" "$state" 0<&5 >>"$log" 2>&1 3<&- 5<&- &
      server=$!
      echo $server >"$state/warm"
    fi
    : >"$state/pid"
    exec 4<>"$state/answers" # nothing comes there now
    printf '%s\t' start "$log" "${files[@]}" 1<>"$state/orders"
    said=()
    # The shell looks by itself: programs that it started ten times a second took more than a start of usmbd.
    while kill -0 "$server" 2>/dev/null; do
      if [ -s "$state/pid" ]; then read -r server <"$state/pid"; fi
      mapfile -u 3 lines
      for line in "${lines[@]}"; do if [[ $line == "usmbd: ready"* ]]; then exit 0; fi; done
      said+=("${lines[@]}")
      read -r -t 0.05 <&4 || :
    done
    mapfile -u 3 lines
    printf %s "${said[@]}" "${lines[@]}" >&2
    exit 1
    ;;
  stop)
    read -r pid <"$state/state/usmbd.lock" && kill "$pid" || exit
    exec 4<>"$state/answers"
    while [ -d "/proc/$pid" ]; do read -r -t 0.05 <&4 || :; done
    ;;
  kill) pkill -9 -f 'usmbd\.(protocol|mountd)' ;;
  kill-workers) pkill -9 -f 'usmbd\.protocol\.worker' ;;
  list) # by what has all imported: to start Python takes longer than to ask three times
    [ -p "$state/orders" ] || { echo "usmbd has not been started here" >&2 && exit 1; }
    exec 4<>"$state/answers"
    printf '%s\t' list "/proc/$$/fd/1" "${files[@]}" 1<>"$state/orders"
    read -r -t 60 status <&4 || status=1
    exit "$status"
    ;;
  control) program mountd.cli.control "${files[@]}" "${@:2}" ;;
  *) sed -n '2,4s/^# //p' "$0"; exit 2 ;;
esac
