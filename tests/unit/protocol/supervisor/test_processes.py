"""The fork server and its children, in a program of their own: whoever calls it is forked."""

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes("protocol/supervisor/")

BEGIN = """
import asyncio, os, signal, sys, tempfile, time
from usmbd.mountd.ipc import forking
from usmbd.mountd.rpc_start import ForkServer
from usmbd.protocol.supervisor import fork_server, processes

def print(*what, **_):
    "Write a line at once: processes that write by pieces break each other's lines."
    os.write(1, (" ".join(map(str, what)) + "\\n").encode())

class Child:
    "What the children are here; it stands in for a module."
    @staticmethod
    def main(arguments):
        if arguments == ["sleep"]:
            time.sleep(60)
        if arguments == ["fail"]:
            raise TimeoutError("of the child's")
        if arguments == ["orphan"] and os.fork() == 0:
            time.sleep(0.2)
            os._exit(5)
        if arguments[0] == "--fd":
            os.write(int(arguments[1]), b"by option")
        if "--fork-fd" in arguments:
            return mountd(arguments[-1], arguments[0] == "hasty")
        if arguments[0] == "--listen-fd":
            print("rpc", arguments[2], os.getppid(), os.read(0, 9), flush=True)
            return 7
        print(os.getppid(), os.getpgrp() == os.getpid(), sys.argv[0], *arguments, flush=True)
        return len(arguments)

def mountd(descriptor, hasty):
    "Ask for the RPC process, then for what is not mountd's to ask for."
    server = ForkServer(int(descriptor))
    read, write = os.pipe()
    if hasty:
        server._sock.settimeout(0)
        return print(server.start(read, write))
    rpc = server.start(read, write)
    os.write(rpc.stdin, b"begin")
    print(rpc.has_ended(60), repr(rpc.close()))
    server._sock.send(forking.encode(forking.Fork("child", ["a"])))
    print(server.start(read, write), server._sock, server.start(read, write))

sys.modules["child"] = Child
fork_server.MODULES = dict.fromkeys(("child", "mountd", "rpc"), "child")
fork_server.IMPORTED_LATER = ()
fork_server.confine = lambda profile: []
children = processes.Processes()

async def started(*arguments, **more):
    "Run a child and return what it printed, and how it ended."
    with tempfile.TemporaryFile() as output:
        child = await children.start("child", arguments, streams=[output.fileno()], **more)
        status = await child.wait()
        output.seek(0)
        return output.read().decode().split(), status
"""


def run(program: str) -> list[str]:
    """Run a program that begins so; return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_child_is_the_supervisors_own() -> None:
    program = """
async def main():
    children.watch()
    (parent, leads, name, *arguments), status = await started("a", "b")
    print(int(parent) == os.getpid(), leads, name, arguments, status)
    (reader, writer) = os.pipe()
    _, status = await started(options={"--fd": writer})
    print(os.read(reader, 20), status)
asyncio.run(main())
"""
    assert run(program) == ["True True child ['a', 'b'] 2", "b'by option' 2"]


def test_children_that_are_asked_for_at_once_are_forked_together() -> None:
    """Each has what was given to it, and nothing of the others."""
    program = """
def main(arguments):
    opened = len(os.listdir("/proc/self/fd"))  # with the directory itself
    print(arguments[0], opened, os.getppid() == int(arguments[1]))
    return len(arguments)
Child.main = main
children._sock.close()  # of the fork server that does not know it
children = processes.Processes()

async def main():
    children.watch()
    asked = []
    ask = children._ask
    children._ask = lambda questions: (asked.append(len(questions)), ask(questions))
    given = os.open("/dev/null", os.O_RDONLY)
    async def start(number):
        more = dict.fromkeys(["--of"] * (number % 2), given)
        child = await children.start("child", [f"child {number}", str(os.getpid())], options=more)
        return await child.wait()
    print("status", *await asyncio.gather(*map(start, range(3))), asked)
    processes.TOGETHER = 2
    print("status", *await asyncio.gather(*map(start, range(3, 6))), asked)
asyncio.run(main())
"""
    assert sorted(run(program)) == [
        *("child 0 4 True", "child 1 5 True", "child 2 4 True"),
        *("child 3 5 True", "child 4 4 True", "child 5 5 True"),
        *("status 2 4 2 [3]", "status 4 2 4 [3, 2, 1]"),
    ]


def test_a_child_that_cannot_be_forked_is_told_to_who_wanted_it() -> None:
    program = """
fork = os.fork
def full():
    if full.left == 0:
        raise OSError(11, "no room")
    full.left -= 1
    return fork()
full.left = 3  # the fork server, the go-between, one child

async def main():
    children.watch()
    with open(os.devnull, "w") as output:
        some = [children.start("child", ["a"], streams=[output.fileno()]) for _ in range(2)]
        child, error = await asyncio.gather(*some, return_exceptions=True)
    print(await child.wait(), error.errno)
children._sock.close()
os.fork = full
children = processes.Processes()
asyncio.run(main())
"""
    assert run(program) == ["1 11"]


def test_where_the_go_between_is_killed_another_fork_server_is_asked_for_the_rest() -> None:
    """As by the kernel, when memory is short: who asked would wait for a minute."""
    program = """
fork = os.fork
def killed():
    killed.left -= 1
    if killed.left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return fork()
killed.left = 4  # the fork server, the go-between, one child

async def main():
    children.watch()
    with open(os.devnull, "w") as output:
        given = [output.fileno()] * 2
        asked = [("child", ["a"]), ("check", ["--check", "-C", "/no/such"])]
        some = [children.start(*each, streams=given) for each in asked]
        print(*[await child.wait() for child in await asyncio.gather(*some)])
children._sock.close()
os.fork = killed
children = processes.Processes()
processes.FORK_SECONDS = 20
asyncio.run(main())
"""
    assert run(program) == ["1 2"]


def test_how_a_child_ended_is_told_and_no_zombie_stays() -> None:
    program = """
async def main():
    children.watch()
    child = await children.start("child", ["sleep"])
    child.terminate()
    print(await child.wait())
    try:
        child.kill()
    except ProcessLookupError:
        print("no other process of this number is killed")
    await started("orphan")
    until = time.monotonic() + 60
    mine = lambda: open("/proc/self/task/%d/children" % os.getpid()).read().split()
    while mine() != [str(children._fork_server)] and time.monotonic() < until:
        await asyncio.sleep(0.01)
    print(mine() == [str(children._fork_server)])
asyncio.run(main())
"""
    assert run(program) == ["-15", "no other process of this number is killed", "True"]


def test_a_child_that_ends_before_it_is_known_has_ended() -> None:
    """Its end is seen before the fork server's answer is read."""
    program = """
async def main():
    children.watch()
    know = children._know
    def late(*given):
        until = time.monotonic() + 5
        while not children._early and time.monotonic() < until:
            time.sleep(0.01)
            children._reap()
        know(*given)
    children._know = late
    with open(os.devnull, "w") as output:
        child = await children.start("child", ["a", "b"], streams=[output.fileno()])
        print(await asyncio.wait_for(child.wait(), 5))
asyncio.run(main())
"""
    assert run(program) == ["2"]


@pytest.mark.parametrize(
    ("signal", "seconds", "answers"),
    [
        ("SIGKILL", 60, ["2 True", "gone"]),
        ("SIGSTOP", 0.5, ["it does not answer", "2 True", "gone"]),
    ],
)
def test_a_fork_server_that_is_gone_is_replaced(
    signal: str, seconds: float, answers: list[str]
) -> None:
    """The new one is executed, so it knows the real children alone: mountd's check of nothing."""
    program = f"""
async def check():
    with tempfile.TemporaryFile() as output:
        child = await children.start(
            "check", ["--check", "-C", "/no/such"], streams=[output.fileno()] * 2)
        status = await child.wait()
        output.seek(0)
        print(status, b"/no/such" in output.read())

async def main():
    children.watch()
    await started("a")
    old = children._fork_server
    os.kill(old, signal.{signal})
    processes.FORK_SECONDS = {seconds}
    try:
        await check()
    except TimeoutError:
        print("it does not answer")
        processes.FORK_SECONDS = 60
        await check()
    until = time.monotonic() + 60
    while os.path.exists(f"/proc/{{old}}") and time.monotonic() < until:
        await asyncio.sleep(0.01)
    print("there" if os.path.exists(f"/proc/{{old}}") else "gone")
asyncio.run(main())
"""
    assert run(program) == answers


def test_what_is_run_before_the_event_loop(tmp_path: Path) -> None:
    program = f"""
sys.excepthook = lambda kind, error, _: print(error)
with open({str(tmp_path / "output")!r}, "w+b") as output:
    print(children.run("child", ["a"], output, 60))
    try:
        children.run("child", ["sleep"], output, 0.5)
    except TimeoutError:
        print("too long")
    try:
        print(children.run("child", ["fail"], output, 60))
    except TimeoutError:
        print("the child goes on as this process")
    output.seek(0)
    print(*output.read().decode().split()[3:])
"""
    assert run(program) == ["1", "too long", "1", "a of the child's"]


def test_they_end_with_the_supervisor() -> None:
    """The fork server sees the end of its socket; a child that comes later ends at once."""
    program = """
print(children._fork_server, flush=True)
os._exit(0)
"""
    (pid,) = run(program)
    with suppress(ProcessLookupError):  # it has ended already
        pidfd = os.pidfd_open(int(pid))
        assert select.select([pidfd], [], [], 60)[0], "the fork server is still there"
        os.close(pidfd)


def test_the_end_of_the_fork_server_meets_no_loop_that_is_being_closed() -> None:
    """The signal would be written to what the loop has closed, and the log would tell of it."""
    program = """
def waits_until_the_fork_server_has_ended():
    end = time.monotonic() + 60
    while open(f"/proc/{children._fork_server}/stat").read().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)

async def main():
    children.watch()
    children.close()
    loop = asyncio.get_running_loop()
    close = loop._close_self_pipe
    loop._close_self_pipe = lambda: (close(), waits_until_the_fork_server_has_ended())
sys.unraisablehook = lambda what: print(what.exc_value)
asyncio.run(main())
"""
    assert run(program) == []


def test_mountd_has_its_rpc_process_forked_and_nothing_else() -> None:
    program = """
async def main():
    children.watch()
    child = await children.start("mountd")
    print(os.getpid(), await child.wait())
asyncio.run(main())
"""
    rpc, end, other, supervisor = run(program)
    pid, _, status = supervisor.partition(" ")
    assert rpc == f"rpc --ask-fd {pid} b'begin'"
    assert (end, other, status) == ("True ''", "None None None", "0")


def test_a_mountd_that_waits_no_longer_leaves_the_fork_server_as_it_was() -> None:
    """On a machine that had much else to do the log had a traceback of it."""
    program = """
async def main():
    children.watch()
    child = await children.start("mountd", ["hasty"])
    before = children._fork_server
    print(await child.wait(), await started("a"), children._fork_server == before)
asyncio.run(main())
"""
    lines = run(program)
    assert "None" in lines
    assert any(line.startswith("0 (['") and line.endswith("1) True") for line in lines), lines
