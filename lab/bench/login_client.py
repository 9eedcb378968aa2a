#!/usr/bin/python3
"""Logins by Samba's Python client, which Debian's interpreter alone has.

login_client.py HOST CONFIGURATION SERVER_PID COUNT RATE PASSWORD USER/SHARE...
Each connects, logs in and reaches his share, in turn, COUNT times in all, RATE a second (0: one
after the other); no PASSWORD: by the ticket of KRB5CCNAME. Prints the logins a second and the
server's CPU microseconds for one.
"""

import itertools
import json
import sys
import time
from pathlib import Path

from samba import credentials
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbtest.processes import cpu_seconds

host, configuration, server, amount, pace, password, *wishes = sys.argv[1:]
settings = param.get_context()
settings.load(configuration)


def log_in(wish: str) -> None:
    """Log in as one of them, and leave."""
    user, share = wish.split("/")
    mine = credentials.Credentials()
    mine.guess(settings)
    mine.set_username(user)
    if password:
        mine.set_password(password)
    needs = credentials.DONT_USE_KERBEROS if password else credentials.MUST_USE_KERBEROS
    mine.set_kerberos_state(needs)
    libsmb.Conn(host, share, settings, mine)


pid, count, rate = int(server), int(amount), float(pace)
log_in(wishes[0])
before, start = cpu_seconds(pid), time.perf_counter()
for number, wish in enumerate(itertools.islice(itertools.cycle(wishes), count)):
    if rate:
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
    log_in(wish)
seconds = time.perf_counter() - start
print(json.dumps([count / seconds, (cpu_seconds(pid) - before) / count * 1e6]))
