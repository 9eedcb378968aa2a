"""Three machines on one switch: two clients of usmbd, and a wire that is cut, delayed and lossy."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import locked_blocks
import pytest
from booted import booted
from cable import Switch
from guest import Done, Guest, Running

LOCKED_SECONDS = os.environ.get("USMBD_LOCKED_SECONDS", "5")
"""How long two machines change one file under locks."""

pytestmark = pytest.mark.timeout(1200 + int(LOCKED_SECONDS))

LIMIT = 300
"""Seconds for one program: they take up to 10, and this tells a hang from a busy machine."""

MOUNT = "/run/lab/mnt"
DATA = "/run/lab/share"
SERVER, ONE, TWO = range(3)
"""The cables."""


@dataclass
class Machines:
    """A server with usmbd and two clients that have its share mounted at MOUNT."""

    switch: Switch
    options: str
    server: Guest
    one: Guest
    two: Guest

    def mount(self, guest: Guest, options: str) -> str:
        """Mount the share on a client; return what went wrong."""
        guest.run("mkdir", "-p", MOUNT)
        options = f"username=lab,password=pw,vers=3.1.1,{options}"
        return guest.run(
            "mount", "-t", "cifs", "//10.99.0.1/data", MOUNT, "-o", options, limit=120
        ).failure


def python(guest: Guest, program: str, limit: float = LIMIT) -> Done:
    """Run a few lines of Python in a guest, in the mounted share."""
    return guest.run("python3", "-ISc", program, cwd=MOUNT, limit=limit)


def talk(guest: Guest, program: str) -> Running:
    """Start a few lines of Python there that print lines and wait for some."""
    return guest.start("python3", "-uISc", program, cwd=MOUNT, lines=True, limit=LIMIT)


@pytest.fixture(scope="module", params=["tcp", "rdma"])
def machines(request: pytest.FixtureRequest) -> Iterator[Machines]:
    """Boot three machines, and mount the share on two of them."""
    with booted("server", "one", "two") as (switch, guests):
        options = "rdma" if request.param == "rdma" else "echo_interval=2"
        made = Machines(switch, options, *guests)
        assert guests[SERVER].run("usmbd.sh", "start", limit=300).failure == ""
        for guest in guests[1:]:
            assert made.mount(guest, options) == ""
        yield made
        for guest in guests[1:]:
            assert guest.run("umount", MOUNT, limit=120).failure == ""


def test_two_machines_see_each_others_work(machines: Machines) -> None:
    """What one wrote and was told is on the server's disk, and the other reads it."""
    write = "import os; f = open('shared', 'wb'); f.write(b'{}' * 100000); f.flush(); os.fsync(f)"
    turns = (("one", machines.one, machines.two), ("two", machines.two, machines.one))
    for text, writer, reader in turns:
        assert python(writer, write.format(text)).failure == ""
        read = f"print(open('{{}}', 'rb').read() == b'{text}' * 100000)"
        on_disk = machines.server.run("python3", "-ISc", read.format(f"{DATA}/shared"))
        assert on_disk.said == "True"
        assert python(reader, read.format("shared")).said == "True"


def test_two_machines_write_one_file_by_turns(machines: Machines) -> None:
    """Both have it open all the time: what one caches is broken by what the other does.

    It has its size from the beginning. Linux 7.3 takes what another machine has appended since its
    last look for a hole, also after a new open, and writes zeros there: with ksmbd as well.
    """
    program = """
import os
file = os.open('turns', os.O_RDWR)
print('open')
for number in range({first}, {count}, 2):
    input()
    seen = os.pread(file, 1 << 20, 0)
    written = b''.join(b'%04d' % n * 64 for n in range(number))
    assert seen == written + b'none' * 64 * ({count} - number), (number, seen)
    os.pwrite(file, b'%04d' % number * 64, number * 256)
    os.fsync(file)
    print(number)
"""
    count = 20
    assert python(machines.one, f"open('turns', 'wb').write(b'none' * 64 * {count})").failure == ""
    both = [
        talk(guest, program.format(first=first, count=count))
        for first, guest in enumerate((machines.one, machines.two))
    ]
    assert [each.line() for each in both] == ["open", "open"]
    check = f"""
data = open('{DATA}/turns', 'rb').read()
print(data == b''.join(b'%04d' % n * 64 if n <= {{}} else b'none' * 64 for n in range({count})))
"""
    for number in range(count):
        both[number % 2].feed("")
        assert both[number % 2].line() == str(number)
        on_disk = machines.server.run("python3", "-ISc", check.format(number))
        assert on_disk.said == "True"
    for each in both:
        assert each.wait().failure == ""


def test_a_lock_of_one_machine_holds_up_the_other(machines: Machines) -> None:
    """A first open has an oplock, and keeps its locks to itself; those that lock come later."""
    first = "import fcntl, os; first = os.open('locked', os.O_RDWR | os.O_CREAT); print('first')"
    opened = "import fcntl, os; f = os.open('locked', os.O_RDWR | os.O_SYNC); print('open')"
    lock = "input(); fcntl.lockf(f, fcntl.LOCK_EX); print('locked'); input()"
    attempt = """
input()
try: print(fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB))
except OSError as error: print('refused', error.errno in (11, 13))
"""
    one = talk(machines.one, f"{first}; input(); {opened}; {lock}")
    assert one.line() == "first"
    two = talk(machines.two, f"{opened}\n{attempt}\n{lock}")
    assert two.line() == "open"
    for line in ("open", "locked"):
        one.feed("")
        assert one.line() == line
    two.feed("")
    assert two.line() == "refused True"
    two.feed("")  # it waits for the lock, which ends with the other's process
    one.feed("")
    assert one.wait().failure == ""
    assert two.line() == "locked"
    two.feed("")
    assert two.wait().failure == ""


def test_nothing_is_lost_of_one_file_under_locks(machines: Machines) -> None:
    """Of blocks that both machines read and write in turn, for LOCKED_SECONDS."""
    program, blocks = Path(locked_blocks.__file__), locked_blocks.BLOCKS
    made = machines.one.run("python3", "-IS", program, "make", "blocks", cwd=MOUNT)
    assert made.failure == ""
    words, limit = ("python3", "-IS", program, "work", "blocks"), 900 + int(LOCKED_SECONDS)
    started = [
        guest.start(*words, name, LOCKED_SECONDS, cwd=MOUNT, limit=limit)
        for guest, name in ((machines.one, "one"), (machines.two, "two"))
    ]
    done = [each.wait() for each in started]
    assert [each.failure for each in done] == ["", ""]
    one, two = (json.loads(each.said) for each in done)
    assert min(sum(one), sum(two)) > 0
    counts = json.loads(
        machines.two.run("python3", "-IS", program, "count", "blocks", cwd=MOUNT).said
    )
    assert counts == [one[number] + two[number] for number in range(blocks)]


def test_a_user_is_held_to_his_quota(machines: Machines) -> None:
    """By Samba's client for quotas, from an administrator; statvfs and write(2) of the kernel's."""
    if machines.options == "rdma":
        pytest.skip("the same by TCP")

    def smbcquotas(share: str, *options: str) -> str:
        place = f"//10.99.0.1/{share}"
        done = machines.one.run("smbcquotas", "-U", "lab%pw", "-n", *options, place, limit=LIMIT)
        assert done.failure == ""
        return done.said

    assert "Deny Disk:      On" in smbcquotas("admin", "-F")
    assert "Soft" in smbcquotas("admin", "-v", "-S", "UQLIM:lab:2097152/4194304")
    told = python(machines.one, "import os; v = os.statvfs('.'); print(v.f_bavail * v.f_frsize)")
    assert 0 < int(told.said) <= 4 << 20
    write = """
import os
f = open('quota', 'wb', 0)
try: print(sum(f.write(bytes(1 << 20)) for _ in range(8)), os.fsync(f.fileno()))
except OSError as error: print(error.errno in (28, 122))  # ENOSPC, EDQUOT
os.unlink('quota')
"""
    assert python(machines.one, write).said == "True"
    own = smbcquotas("data", "-L")
    assert len(own.splitlines()) == 1
    assert own.endswith("4194304")
    assert len(smbcquotas("admin", "-L").splitlines()) > 1  # root's, too
    unlimited = (1 << 64) - 1
    smbcquotas("admin", "-S", f"UQLIM:lab:{unlimited}/{unlimited}")
    assert python(machines.one, write).said == f"{8 << 20} None"


def test_writes_survive_a_lossy_and_slow_wire(machines: Machines) -> None:
    program = """
import hashlib, os
data = os.urandom(65536) * 8
with open('lossy', 'wb', buffering=0) as file:
    for _ in range(4): file.write(data)
    os.fsync(file)
print(hashlib.sha256(data * 4).hexdigest())
"""
    machines.switch.lose(ONE, 0.005)
    machines.switch.delay(ONE, 0.002)
    try:
        written = python(machines.one, program)
    finally:
        machines.switch.mend(ONE)
    assert written.status == 0, written.failure
    read = "import hashlib; print(hashlib.sha256(open('lossy', 'rb').read()).hexdigest())"
    assert python(machines.two, read).said == written.said


def test_a_client_comes_back_after_its_cable_was_out(machines: Machines) -> None:
    assert python(machines.one, "open('before', 'w').write('kept')").failure == ""
    machines.switch.cut(ONE)
    try:
        # The server goes on for others meanwhile.
        assert python(machines.two, "print(open('before').read())").said == "kept"
        cut = machines.one.run("timeout", "-k", "1", "15", "ls", MOUNT, limit=60)
    finally:
        machines.switch.mend(ONE)
    retry = """
import os, time
end = time.monotonic() + 250
while True:
    try:
        print(open('before').read(), 'again' if open('after', 'w').write('x') else '')
        break
    except OSError as error:
        if time.monotonic() > end: raise
        time.sleep(0.5)
"""
    back = python(machines.one, retry)
    assert back.said == "kept again", (cut, back)


def test_a_machine_that_loses_power_comes_back_to_its_files(machines: Machines) -> None:
    write = "import os; f = open('synced', 'wb'); f.write(b'kept'); f.flush(); os.fsync(f)"
    assert python(machines.one, write).failure == ""
    held = talk(machines.one, "f = open('synced', 'ab'); f.write(b'lost'); print('open'); input()")
    assert held.line() == "open"
    machines.one.kill()
    machines.one.close()
    machines.one.boot()
    failure = machines.mount(machines.one, machines.options)
    if failure and machines.options == "rdma":
        # The server's kernel still has the connection that nobody ended: it refuses a second one
        # of the same numbers as stale, ends the first for that, and takes the next.
        assert "rejected status=10" in machines.one.run("dmesg").said
        failure = machines.mount(machines.one, machines.options)
    assert failure == ""
    again = "f = open('synced', 'r+b'); print(f.read()); f.write(b' again'); f.close()"
    assert python(machines.one, again).said == "b'kept'"
    assert python(machines.two, "print(open('synced').read())").said == "kept again"
