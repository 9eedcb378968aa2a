"""Change notification as clients know it: smbprotocol's watcher, smbclient, Samba's tests."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from smbprotocol.change_notify import ChangeNotifyFlags, CompletionFilter, FileSystemWatcher
from smbprotocol.exceptions import SMBResponseException
from smbtest import client as smb
from smbtest.client import Client
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.samba_tools import smbclient_command
from smbtest.server import ALICE, BOB, HOST, Options, Server
from smbtest.torture import Smbtorture, add_shares
from smbtest.usmbd import Usmbd

NAMES = CompletionFilter.FILE_NOTIFY_CHANGE_FILE_NAME | CompletionFilter.FILE_NOTIFY_CHANGE_DIR_NAME
TREE = ChangeNotifyFlags.SMB2_WATCH_TREE
ADDED, REMOVED, MODIFIED, OLD, NEW = 1, 2, 3, 4, 5
SECONDS = 20.0  # tells a hang from a busy machine
NOTIFY_CLEANUP, DELETE_PENDING, CANCELLED = 0x0000010B, 0xC0000056, 0xC0000120

Pair = tuple[Client, Client]
TRIES = 32  # distinct ClientGuids are spread over the workers by the server


@pytest.fixture
def one(server: Server) -> Iterator[Client]:
    with Client(server, ALICE) as client:
        yield client


@pytest.fixture
def pair(server: Server, one: Client) -> Iterator[Pair]:
    """Connect until a second client is served by another process than the first."""
    clients = [one]
    try:
        while True:
            clients.append(Client(server, BOB))
            if server.process_of(clients[-1].port) != server.process_of(one.port):
                break
            assert len(clients) < TRIES, "all clients are served by one process"
        yield one, clients[-1]
    finally:
        for client in clients[1:]:
            client.close()


class Watch:
    """A directory that a client watches: each change is asked for as soon as the last is known."""

    def __init__(
        self, client: Client, name: str, completion_filter: int = NAMES, flags: int = 0
    ) -> None:
        """Open, ask, and wait until the server has taken the request up."""
        self.client = client
        self.directory = client.open(name, smb.READ, options=smb.DIRECTORY_FILE)
        self.filter, self.flags = completion_filter, flags
        self.watcher = self.ask()

    def ask(self) -> FileSystemWatcher:
        """Send a request; what the same connection asks next comes after it."""
        watcher = FileSystemWatcher(self.directory)
        watcher.start(self.filter, self.flags)
        self.client.connection.echo(sid=self.client.session.session_id)
        return watcher

    def answer(self) -> list[tuple[int, str]]:
        """Return what the request that waits is told; SMBResponseException."""
        assert self.watcher.response_event.wait(SECONDS)
        return [(r["action"].get_value(), r["file_name"].get_value()) for r in self.watcher.result]

    def told(self, count: int) -> list[tuple[int, str]]:
        """Return so many changes."""
        found = self.answer()
        while len(found) < count:
            self.watcher = self.ask()
            found += self.answer()
        return found


@pytest.mark.parametrize("flags", [0, TREE])
def test_what_a_local_program_does(one: Client, folder: Path, flags: int) -> None:
    watch = Watch(one, folder.name, flags=flags)
    (folder / "file").write_bytes(b"data")
    (folder / "file").rename(folder / "new")
    (folder / "new").unlink()
    assert watch.told(4) == [(ADDED, "file"), (OLD, "file"), (NEW, "new"), (REMOVED, "new")]


def test_what_a_client_of_another_worker_does(pair: Pair, folder: Path) -> None:
    """By the kernel: names and data; by the engine: attributes."""
    mine, other = pair
    names = Watch(mine, folder.name)
    rest = Watch(mine, folder.name, CompletionFilter.FILE_NOTIFY_CHANGE_ATTRIBUTES)
    file = other.open(rf"{folder.name}\file", smb.ALL, smb.CREATE)
    assert names.told(1) == [(ADDED, "file")]
    other.set(file, 4, bytes(32) + b"\2\0\0\0" + bytes(4))  # FileBasicInformation: hidden
    assert rest.told(1) == [(MODIFIED, "file")]
    file.close()


def test_streams_of_a_client_of_another_worker(pair: Pair, folder: Path) -> None:
    mine, other = pair
    watch = Watch(mine, folder.name, CompletionFilter.FILE_NOTIFY_CHANGE_STREAM_NAME)
    other.open(rf"{folder.name}\file:stream", smb.ALL, smb.CREATE).close()
    assert watch.told(1) == [(6, "file:stream")]


def test_a_directory_that_another_worker_s_client_deletes(pair: Pair, folder: Path) -> None:
    mine, other = pair
    (folder / "dir").mkdir()
    (folder / "dir").chmod(0o777)
    watch = Watch(mine, rf"{folder.name}\dir")
    options = smb.DIRECTORY_FILE | smb.DELETE_ON_CLOSE
    other.open(rf"{folder.name}\dir", smb.DELETE, options=options).close()
    assert _status(watch) == DELETE_PENDING
    watch.directory.close()
    wait_for(lambda: not (folder / "dir").exists(), SECONDS, "the directory's end")


@pytest.mark.parametrize("how", ["cancel", "close", "tree", "session"])
def test_what_ends_a_wait(server: Server, folder: Path, how: str) -> None:
    with Client(server, ALICE) as client:
        watch = Watch(client, folder.name)
        if how == "cancel":
            watch.watcher.cancel()
            wait_for(lambda: watch.watcher.cancelled, SECONDS, "the answer to CANCEL")
            return
        if how == "close":
            watch.directory.close()
        elif how == "tree":
            client.tree.disconnect()
        else:
            client.session.disconnect(close=False)
        assert _status(watch) == NOTIFY_CLEANUP


def _status(watch: Watch) -> int:
    """Return by which status a wait ended."""
    assert watch.watcher.response_event.wait(SECONDS)
    with pytest.raises(SMBResponseException) as caught:
        raise watch.watcher._t_exc or AssertionError(watch.watcher.result)
    status: int = caught.value.status
    return status


def test_ten_thousand_directories(server: Server, one: Client, folder: Path) -> None:
    """In one tree; others are served meanwhile, and everything is given back."""
    try:
        for number in range(100):
            for inner in range(99):
                (folder / f"{number}" / f"{inner}").mkdir(parents=True)
                os.utime(folder / f"{number}" / f"{inner}", (1, 1))
            os.utime(folder / f"{number}", (1, 1))
        before = _watches(server)
        watch = Watch(one, folder.name, flags=TREE)
        wait_for(lambda: _watches(server) - before == 10_001, SECONDS, "10,001 watches")
        (folder / "99" / "98" / "file").touch()
        assert watch.told(1) == [(ADDED, r"99\98\file")]
        watch.directory.close()
        wait_for(lambda: _watches(server) == before, SECONDS, "the end of all watches")
    finally:
        shutil.rmtree(folder)
        folder.mkdir()


def _watches(server: Server) -> int:
    """Count the watches of the kernel that the server's processes have."""
    count = 0
    for pid in server.children():
        for path in Path(f"/proc/{pid}/fdinfo").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                count += path.read_text().count("inotify wd:")
    return count


def test_a_lost_connection_takes_its_watches_along(server: Server, folder: Path) -> None:
    (folder / "dir").mkdir()
    before = _watches(server)
    client = Client(server, ALICE)
    Watch(client, folder.name, flags=TREE)
    assert _watches(server) > before
    client.drop()
    wait_for(lambda: _watches(server) == before, SECONDS, "the end of all watches")


def test_a_storm_of_changes(one: Client, folder: Path) -> None:
    """More than is kept: the client is told to list, and goes on after that."""
    watch = Watch(one, folder.name)
    watch.watcher.cancel()
    for number in range(5000):
        (folder / f"a-name-that-is-not-short-{number}").touch()
    watch.watcher = watch.ask()
    assert watch.answer() == []  # NOTIFY_ENUM_DIR
    watch.watcher = watch.ask()
    (folder / "one more").touch()
    assert watch.told(1) == [(ADDED, "one more")]


def test_smbclient_notify(server: Server, folder: Path) -> None:
    """`notify` shows what happens, as long as the user looks."""
    command = ["stdbuf", "-oL", *smbclient_command(server, ALICE)]
    command += [f"//{HOST}/data", "-c", f"notify {folder.name}"]
    said: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: said.extend(process.stdout or ()))
        reader.start()
        try:
            count = 0

            def seen() -> bool:
                nonlocal count
                count += 1
                (folder / f"file{count}").touch()
                time.sleep(0.1)
                return bool(said)

            wait_for(seen, SECONDS, "the first change")
            (folder / "dir").mkdir()
            (folder / "dir").rename(folder / "renamed")
            lines = ("0001 dir\n", "0004 dir\n", "0005 renamed\n")
            wait_for(lambda: all(line in said for line in lines), SECONDS, "the rename")
        finally:
            process.terminate()
            reader.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests act as their users: needs root")
@pytest.mark.parametrize(
    ("options", "test"),
    [
        ({"change notify": "no"}, "smb2.change_notify_disabled.notfiy_disabled"),
        ({"kernel change notify": "no"}, "smb2.notify.tree"),
        ({"kernel change notify": "no"}, "smb2.notify.mask-change"),
        ({"kernel change notify": "no"}, "smb2.notify.rec"),
    ],
)
def test_samba_s_tests_with_other_parameters(options: dict[str, str], test: str) -> None:
    only_usmbd("the parameters are those of usmbd")
    server = Usmbd(Options(options))
    add_shares(server)
    with server.running():
        (outcome,) = Smbtorture(server).run([test]).values()
    assert outcome.status == "success", outcome.reason
