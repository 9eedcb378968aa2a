"""Hours of everything at once: `make soak MINUTES=n`. It needs root.

Clients of several kinds work, while processes of the server are killed, strangers flood its port,
one share's disk hangs again and again and another one's is full. A bystander writes files and
reads them again; what he was told is written has to be there, by checksum, over SMB and on the
disk. One worker is never killed: its memory and its descriptors, and the supervisor's, have to be
flat; what took a killed one's place may hold no more than the first of its kind. Exit status 1, and
a line for each thing that was not so.
"""

import argparse
import hashlib
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import smbtest.usmbd
from smbprotocol.exceptions import SMBException
from smbtest import client as smb
from smbtest import processes, smb2
from smbtest.client import Client
from smbtest.processes import open_descriptors, wait_for
from smbtest.raw import Closed, Raw
from smbtest.samba_tools import rpcclient, smbclient
from smbtest.server import ALICE, BOB, Options
from smbtest.usmbd import Usmbd

WORKERS = 3  # one of them is spared
ANSWER_SECONDS = 60.0  # a client without an answer for so long is a finding
KILL_SECONDS = (3.0, 9.0)  # between two kills
IMAGE_MIB = 24
GROWTH_KIB = 24 << 10  # of the least memory of its own that a process needs
SWING_KIB = 48 << 10  # of a process's own memory under load: what is sent here takes 12 MiB
MORE_DESCRIPTORS = 8  # than before the load, once all clients have gone
DISK_FULL, SUCCESS = 0xC000007F, 0
LOST = (Closed, OSError, AssertionError, ValueError, struct.error, subprocess.TimeoutExpired)
"""What a client sees of a worker that was killed under it."""


class Scene:
    """The server, what was found and what was counted."""

    def __init__(self, server: Usmbd, seed: int) -> None:
        self.server = server
        self.seed = seed
        self.stop = threading.Event()
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self.spared = 0

    def find(self, what: str) -> None:
        """Note what must not be."""
        self.wrong.append(what)
        print(f"WRONG: {what}", flush=True)


def again(scene: Scene, name: str, work: Callable[[random.Random], None]) -> threading.Thread:
    """Do some work until the end; who loses the connection comes back."""

    def run() -> None:
        own = random.Random(f"{scene.seed} {name}")
        while not scene.stop.is_set():
            try:
                work(own)
                scene.counts[name] += 1
            except TimeoutError:
                if not scene.stop.is_set():
                    scene.find(f"{name}: no answer in {ANSWER_SECONDS:.0f} s")
            except LOST:
                scene.counts[f"{name}, cut off"] += 1
                scene.stop.wait(0.1)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


class Bystander:
    """One who only works, and must not lose anything."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.files: dict[str, str] = {}
        self.echoes: list[float] = []

    def work(self, own: random.Random) -> None:
        """Write files, and read what is there, until the connection is lost."""
        with Raw(self._scene.server, timeout=ANSWER_SECONDS).ready(account=ALICE) as client:
            while not self._scene.stop.is_set():
                begin = time.perf_counter()
                client.call(smb2.ECHO, smb2.ECHO_BODY)
                self.echoes.append(time.perf_counter() - begin)
                if len(self.files) < 200 or own.random() < 0.3:
                    self._write(client, own)
                else:
                    self._read(client, own.choice(sorted(self.files)))
                self._scene.stop.wait(0.02)

    def _write(self, client: Raw, own: random.Random) -> None:
        name = f"by-{own.randrange(400)}"
        self.files.pop(name, None)  # nobody knows what is in it until all is answered
        data = own.randbytes(own.choice((1, 4096, 60_000, 500_000)))
        opened = client.open(name, disposition=5)
        for start in range(0, len(data), 60_000):
            part = data[start : start + 60_000]
            reply = client.call(smb2.WRITE, smb2.write_body(opened, part, start))
            assert reply.status == SUCCESS
        assert client.call(smb2.CLOSE, smb2.close_body(opened)).status == SUCCESS
        self.files[name] = hashlib.sha256(data).hexdigest()
        self._scene.counts["files written by the bystander"] += 1

    def _read(self, client: Raw, name: str) -> None:
        opened = client.open(name, 0x00120089, 1)
        data = b""
        while True:
            reply = client.call(smb2.READ, smb2.read_body(opened, 60_000, len(data)))
            if reply.status != SUCCESS:
                break
            offset, length = reply.body[2] - 64, struct.unpack_from("<I", reply.body, 4)[0]
            data += reply.body[offset : offset + length]
        assert client.call(smb2.CLOSE, smb2.close_body(opened)).status == SUCCESS
        if hashlib.sha256(data).hexdigest() != self.files[name]:
            self._scene.find(f"{name} reads as {len(data)} other bytes")
        self._scene.counts["files read by the bystander"] += 1

    def check_disk(self, folder: Path) -> None:
        """Compare the files on the server's disk with what was written."""
        for name, digest in self.files.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                self._scene.find(f"{name} is another file on the disk")


def smbclients(scene: Scene, share: str) -> Callable[[random.Random], None]:
    """Return the work of Samba's client: a file goes there and comes back the same."""

    def work(own: random.Random) -> None:
        with tempfile.TemporaryDirectory() as folder:
            put, got = Path(folder) / "put", Path(folder) / "got"
            put.write_bytes(own.randbytes(own.choice((10, 100_000, 3_000_000))))
            name = f"{share}-{own.randrange(50)}"
            steps = [f"mkdir d-{name}", f"put {put} {name}", "ls", f"get {name} {got}"]
            steps += [f"rename {name} d-{name}/x", f"deltree d-{name}"]
            smbclient(scene.server, steps, share=share, account=BOB, timeout=2 * ANSWER_SECONDS)
            if got.read_bytes() != put.read_bytes():
                scene.find(f"{name} came back otherwise")

    return work


def python_client(scene: Scene) -> Callable[[random.Random], None]:
    """Return the work of smbprotocol: what it writes at offsets is read again and is the same."""

    def work(own: random.Random) -> None:
        try:
            with Client(scene.server, BOB, encrypted=own.random() < 0.5) as client:
                for _ in range(20):
                    name, data = f"python-{own.randrange(9)}", own.randbytes(50_000)
                    opened = client.open(name, smb.ALL, smb.SUPERSEDE, options=smb.DELETE_ON_CLOSE)
                    start = own.randrange(1 << 20)
                    opened.write(data, start)
                    if opened.read(start, len(data)) != data:
                        scene.find(f"{name} is read otherwise by smbprotocol")
                    opened.close()
        except SMBException as error:
            if "timeout" in str(error).lower():
                raise TimeoutError from error
            raise Closed from error

    return work


def lister(scene: Scene) -> Callable[[random.Random], None]:
    """Return the work of one who asks the RPC process for the shares."""

    def work(_: random.Random) -> None:
        said = rpcclient(scene.server, "netshareenumall")
        if "encrypted" not in said:
            scene.find(f"a share is not in the list: {said}")
        scene.stop.wait(1)

    return work


def opener(scene: Scene) -> Callable[[random.Random], None]:
    """Return the work of a client who opens, locks, lists, waits and goes without a word."""

    def work(own: random.Random) -> None:
        with Raw(scene.server, timeout=ANSWER_SECONDS).ready(account=BOB) as client:
            for _ in range(own.randrange(100)):
                opened = client.open(f"shared-{own.randrange(10)}")
                client.call(smb2.LOCK, smb2.lock_body(opened, [(own.randrange(9), 1, 0x12)]))
                client.call(smb2.WRITE, smb2.write_body(opened, own.randbytes(5000), 7))
                client.call(smb2.QUERY_INFO, smb2.query_body(opened, 1, 18))
                if own.random() < 0.8:
                    client.call(smb2.CLOSE, smb2.close_body(opened))

    return work


def flood(scene: Scene) -> Callable[[random.Random], None]:
    """Return the work of strangers: connections that say nothing, half a login, or nonsense."""

    def work(own: random.Random) -> None:
        with ExitStack() as held:
            for _ in range(own.randrange(1, 40)):
                source = f"127.0.{own.randrange(9)}.{own.randrange(1, 250)}"
                client = Raw(scene.server, timeout=ANSWER_SECONDS, source=source)
                held.callback(client.close)
                kind = own.randrange(4)
                if kind == 1:
                    client.negotiate()
                elif kind == 2:
                    client.send(own.randbytes(own.randrange(1, 400)))
                elif kind == 3:
                    client.socket.send(own.randbytes(own.randrange(1, 4000)))
            scene.stop.wait(own.random())

    return work


def killer(scene: Scene) -> Callable[[random.Random], None]:
    """Return the work of one who kills any but the supervisor and the spared worker."""

    def work(own: random.Random) -> None:
        scene.stop.wait(own.uniform(*KILL_SECONDS))
        workers = [pid for pid in scene.server.workers() if pid != scene.spared]
        rpc = scene.server.rpc()
        mountd = [pid for pid in scene.server.mountd() if pid not in rpc]
        kinds = [("workers", workers), ("mountd", mountd), ("RPC", rpc)]
        kind, pids = own.choice([*kinds, ("the door", scene.server.door())])
        if pids and not scene.stop.is_set():
            with suppress(ProcessLookupError):
                os.kill(own.choice(pids), signal.SIGKILL)
            scene.counts[f"kills of {kind}"] += 1

    return work


class Disk:
    """A file system in a file, mounted while it is used: one that hangs, or one that is full."""

    def __init__(self, folder: Path) -> None:
        self.mounted = folder / "mounted"
        self.mounted.mkdir()
        image = folder / "image"
        with image.open("wb") as file:
            file.truncate(IMAGE_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.mounted], check=True)
        self.mounted.chmod(0o777)

    def hang(self, seconds: float, stop: threading.Event) -> None:
        """Let every write to it wait."""
        subprocess.run(["fsfreeze", "-f", self.mounted], check=True)
        try:
            stop.wait(seconds)
        finally:
            subprocess.run(["fsfreeze", "-u", self.mounted], check=True)

    def remove(self) -> None:
        """Unmount it; a process that was killed may hold it for a moment."""

        def unmounted() -> bool:
            return subprocess.run(["umount", self.mounted], capture_output=True).returncode == 0

        wait_for(unmounted, 30, "the disk is not used any more")


def writer(scene: Scene, share: str) -> Callable[[random.Random], None]:
    """Return the work of one who fills a share until it is full, then empties it."""

    def work(own: random.Random) -> None:
        with Raw(scene.server, timeout=ANSWER_SECONDS).ready(account=ALICE, share=share) as client:
            opened = client.open(f"fill-{own.randrange(3)}", 0x0013019F, 5, 0x1000)
            for number in range(own.randrange(600)):
                if scene.stop.is_set():
                    break
                data = own.randbytes(60_000)
                reply = client.call(smb2.WRITE, smb2.write_body(opened, data, number * 60_000))
                if reply.status == DISK_FULL:
                    scene.counts[f"{share} was full"] += 1
                    break
                assert reply.status == SUCCESS, hex(reply.status)
            client.call(smb2.CLOSE, smb2.close_body(opened))

    return work


class Meter:
    """Memory and descriptors of what is never killed, from time to time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.samples: list[tuple[float, int, int, int]] = []
        self._begin = time.monotonic()
        self.supervisor = scene.server.pid
        self.first = self._descriptors()
        rpcclient(scene.server, "netshareenumall")  # the RPC process loads what it needs then
        self.firsts = {
            kind: (own_memory(pids[0]), open_descriptors(pids[0]))
            for kind, pids in self._family().items()
        }

    def _family(self) -> dict[str, list[int]]:
        """List the pids that may be killed, by kind."""
        server = self._scene.server
        rpc = server.rpc()
        mountd = [pid for pid in server.mountd() if pid not in rpc]
        return {"worker": server.workers(), "mountd": mountd, "RPC": rpc, "door": server.door()}

    def _descriptors(self) -> tuple[int, int]:
        return open_descriptors(self._scene.spared), open_descriptors(self.supervisor)

    def work(self, _: random.Random) -> None:
        """Take one sample."""
        self._scene.stop.wait(2)
        memory = own_memory(self._scene.spared), own_memory(self.supervisor)
        when = time.monotonic() - self._begin
        self.samples.append((when, *memory, self._descriptors()[0]))

    def judge(self) -> None:
        """Compare the lowest of the last third with that of the second: the rest is given back."""
        step = max(len(self.samples) // 12, 1)
        for when, worker, supervisor, descriptors in self.samples[::step]:
            print(f"{when:8.0f} s {worker:8} KiB {supervisor:8} KiB {descriptors:5} descriptors")
        for name, column in (("the spared worker", 1), ("the supervisor", 2)):
            values = [sample[column] for sample in self.samples]
            third = max(len(values) // 3, 1)
            early, late = min(values[third : 2 * third] or values), min(values[-third:])
            print(
                f"{name}: from {early} KiB of its own, {late} KiB at the end, {max(values)} at most"
            )
            if late > early + GROWTH_KIB:
                self._scene.find(f"{name} grew by {late - early} KiB")
            if max(values) > values[0] + SWING_KIB:
                self._scene.find(f"{name} took {max(values) - values[0]} KiB for a while")

        def flat() -> bool:
            now = self._descriptors()
            return all(
                late <= early + MORE_DESCRIPTORS
                for early, late in zip(self.first, now, strict=True)
            )

        try:
            wait_for(flat, 90, "descriptors are closed")
        except AssertionError:
            self._scene.find(f"descriptors: {self.first} before, {self._descriptors()} after")
        print(f"descriptors (worker, supervisor): {self.first} before, {self._descriptors()} after")
        self._judge_replaced()

    def _judge_replaced(self) -> None:
        """Compare all that may have been killed and replaced with the first of its kind.

        A worker's memory goes up and down under load: it is compared with the spared one's most.
        """
        most = max(sample[1] for sample in self.samples)
        for kind, pids in self._family().items():
            memory, descriptors = self.firsts[kind]
            bound = (most if kind == "worker" else memory) + GROWTH_KIB
            if not pids:
                self._scene.find(f"no {kind} at the end")
            for pid in pids:
                now = own_memory(pid), open_descriptors(pid)
                print(
                    f"{kind} {pid}: {now[0]} KiB of its own ({memory} the first at its start), "
                    f"{now[1]} descriptors ({descriptors})"
                )
                if now[0] > bound:
                    self._scene.find(f"{kind} {pid} holds {now[0]} KiB, more than {bound}")
                if now[1] > descriptors + MORE_DESCRIPTORS:
                    self._scene.find(f"{kind} {pid} holds {now[1]} descriptors")


def own_memory(pid: int) -> int:
    """Return the private memory of a process in KiB."""
    with suppress(OSError):
        return processes.own_memory(pid) // 1024
    return 0


def run(minutes: float, seed: int) -> int:
    """Put up the scene, let all act, look at what is left."""
    smbtest.usmbd.WORKERS = WORKERS
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        folder.chmod(0o755)
        disks: dict[str, Disk] = {}
        for name in ("slow", "full"):
            (folder / name).mkdir()
            disks[name] = Disk(folder / name)
            ends.callback(disks[name].remove)
        server = Usmbd(
            Options(
                {},
                {
                    name: {"path": str(disk.mounted), "read only": "no"}
                    for name, disk in disks.items()
                },
            )
        )
        ends.callback(server.remove)
        ends.callback(server.kill)
        server.start()
        scene = Scene(server, seed)
        scene.spared = server.workers()[0]
        act(scene, disks, minutes)
        server.stop()  # which fails for a traceback in the log
    for name, count in sorted(scene.counts.items()):
        print(f"{count:>8}  {name}")
    print(f"{len(scene.wrong)} wrong")
    return int(bool(scene.wrong))


def act(scene: Scene, disks: dict[str, Disk], minutes: float) -> None:
    """Let all act for some minutes, then check what must hold."""
    bystander, meter = Bystander(scene), Meter(scene)

    def hang(own: random.Random) -> None:
        scene.stop.wait(own.uniform(2, 10))
        disks["slow"].hang(own.uniform(0.5, 4), scene.stop)

    actors = [
        again(scene, "meter", meter.work),
        again(scene, "bystander", bystander.work),
        again(scene, "smbclient", smbclients(scene, "data")),
        again(scene, "smbclient, encrypted", smbclients(scene, "encrypted")),
        again(scene, "smbprotocol", python_client(scene)),
        again(scene, "rpcclient", lister(scene)),
        *(again(scene, f"opener {number}", opener(scene)) for number in range(3)),
        *(again(scene, f"flood {number}", flood(scene)) for number in range(2)),
        again(scene, "killer", killer(scene)),
        again(scene, "writer on the disk that hangs", writer(scene, "slow")),
        again(scene, "writer on the disk that is full", writer(scene, "full")),
        again(scene, "hang", hang),
    ]
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        time.sleep(1)
        if scene.server.pid != meter.supervisor or not Path(f"/proc/{scene.spared}").exists():
            scene.find("a process that nobody killed has ended")
            break
    scene.stop.set()
    for actor in actors:
        actor.join(3 * ANSWER_SECONDS)
        if actor.is_alive():
            scene.find(f"{actor.name} does not come to its end")
    bystander.check_disk(scene.server.data)
    with Raw(scene.server, timeout=ANSWER_SECONDS).ready() as client:  # and it serves
        client.call(smb2.ECHO, smb2.ECHO_BODY)
    meter.judge()
    echoes = sorted(bystander.echoes)
    if echoes:
        shown = (echoes[len(echoes) // 2], echoes[int(len(echoes) * 0.99)], echoes[-1])
        print(
            "bystander's ECHO, ms: median {:.1f}, p99 {:.1f}, worst {:.1f}".format(
                *(1000 * value for value in shown)
            )
        )


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it mounts disks that hang and that are full")
    print(f"--seed {arguments.seed}", flush=True)
    return run(arguments.minutes, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
