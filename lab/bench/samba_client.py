#!/usr/bin/python3
"""Metadata and small reads by Samba's Python client, which Debian's interpreter alone has.

samba_client.py HOST SHARE USER PASSWORD CONFIGURATION SERVER_PID FILES
One connection, one request at a time; prints {row: [operations/s, server's CPU us/operation]}.
All creates come before the first unlink: ext4 is slow to hand out inodes that were just freed.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samba import credentials
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbtest.processes import cpu_seconds

OPEN, CREATE, OVERWRITE_IF = 1, 2, 5
READ, WRITE, READ_ATTRIBUTES, SHARE_ALL = 0x120089, 0x120116, 0x80, 7
LISTS, CONNECTS = 10, 100
READ_SIZE = 4096
BIG_MIB, READS = 64, 10_000
ROWS: dict[str, list[float]] = {}


def measure(pid: int, name: str, count: int, work: Callable[[], None]) -> None:
    """Time `count` operations."""
    before, start = cpu_seconds(pid), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    ROWS[f"{name}, op/s"] = [count / seconds, (cpu_seconds(pid) - before) / count * 1e6]


def main() -> None:
    """Connect and take the rows."""
    host, share, user, password, configuration, server, amount = sys.argv[1:]
    pid, files = int(server), int(amount)
    settings = param.get_context()
    settings.load(configuration)
    mine = credentials.Credentials()
    mine.guess(settings)
    mine.set_username(user)
    mine.set_password(password)
    mine.set_kerberos_state(credentials.DONT_USE_KERBEROS)
    mine.set_smb_signing(credentials.SMB_SIGNING_OFF)

    def connect() -> Any:
        return libsmb.Conn(host, share, settings, mine)

    connection = connect()

    def opened(name: str, access: int, disposition: int) -> Any:
        return connection.create(
            name, DesiredAccess=access, ShareAccess=SHARE_ALL, CreateDisposition=disposition
        )

    content = os.urandom(READ_SIZE)

    def create() -> None:
        for index in range(files):
            handle = opened(f"dir\\f{index:05}", WRITE, CREATE)
            connection.write(handle, content, 0)
            connection.close(handle)

    def stat() -> None:
        for index in range(files):
            connection.close(opened(f"dir\\f{index:05}", READ_ATTRIBUTES, OPEN))

    def list_all() -> None:
        for _ in range(LISTS):
            connection.list("dir")

    def read() -> None:
        for offset in offsets:
            connection.read(handle, offset, READ_SIZE)

    def connects() -> None:
        for _ in range(CONNECTS):
            connect()

    def unlink() -> None:
        for index in range(files):
            connection.unlink(f"dir\\f{index:05}")

    connection.mkdir("dir")
    handle = opened("read", READ | WRITE, OVERWRITE_IF)
    for index in range(BIG_MIB):
        connection.write(handle, os.urandom(1 << 20), index << 20)
    generator = random.Random(7)
    offsets = [generator.randrange(BIG_MIB << 8) << 12 for _ in range(READS)]
    measure(pid, "create+write 4K+close", files, create)
    measure(pid, "stat (open+close)", files, stat)
    measure(pid, "list, per entry", files * LISTS, list_all)
    measure(pid, "random 4K read", READS, read)
    measure(pid, "connect and login", CONNECTS, connects)
    measure(pid, "unlink", files, unlink)
    connection.close(handle)
    connection.rmdir("dir")
    print(json.dumps(ROWS))


main()
