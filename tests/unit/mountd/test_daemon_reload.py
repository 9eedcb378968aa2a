"""mountd reads its files on a thread, and answers meanwhile."""

import dataclasses
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from mountd_helpers import FakeAccounts
from served_mountd import Mountd, Rpc, until

from usmbd.mountd import daemon as module
from usmbd.mountd import service
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import mountd_client
from usmbd.mountd.ipc.messages import (
    MOUNTD_SOCKET,
    Failed,
    ReloadRequest,
    ReloadResponse,
    ServerConfigRequest,
)


@pytest.fixture
def mountd(state: Path, monkeypatch: pytest.MonkeyPatch) -> Mountd:
    monkeypatch.setattr(module, "RpcProcess", Rpc)
    monkeypatch.setattr(service, "Accounts", FakeAccounts)
    return Mountd(state)


class Slowly:
    """Reads the files when it is told to, and counts."""

    def __init__(self, mountd: Mountd, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go = threading.Event()
        self._reader = mountd.daemon._service.reader
        monkeypatch.setattr(mountd.daemon._service, "reader", self.reader)

    def reader(self) -> Any:
        """Return what waits before it reads."""
        read = self._reader()

        def slowly() -> Any:
            self.begun += 1
            assert self.go.wait(60)
            return read()

        return slowly


def test_mountd_answers_while_the_files_are_read(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def talk(client: BlockingClient[Any]) -> None:
        slowly = Slowly(mountd, monkeypatch)
        mountd.configure("workgroup = OTHERS")
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: slowly.begun == 1)
        assert client.request(ServerConfigRequest()).config.workgroup == "TEAM"
        os.kill(os.getpid(), signal.SIGHUP)  # the files may have changed again by now
        assert client.request(ServerConfigRequest()).config.workgroup == "TEAM"
        slowly.go.set()
        until(lambda: "configuration read, generation" in caplog.text)
        assert slowly.begun == 2
        assert client.request(ServerConfigRequest()).config.workgroup == "OTHERS"

    caplog.set_level(logging.INFO, "usmbd.conn")
    mountd.serve(talk)


def test_where_the_registry_is_another_meanwhile_the_files_are_read_again(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = mountd.daemon._service

    def talk(client: BlockingClient[Any]) -> None:
        slowly = Slowly(mountd, monkeypatch)
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: slowly.begun == 1)
        service.configuration = dataclasses.replace(service.configuration)
        mountd.configure("workgroup = OTHERS")
        slowly.go.set()
        until(lambda: "configuration read, generation" in caplog.text)
        assert slowly.begun == 2
        assert client.request(ServerConfigRequest()).config.workgroup == "OTHERS"

    caplog.set_level(logging.INFO, "usmbd.conn")
    mountd.serve(talk)


def test_a_mistake_of_ours_is_told_and_the_next_reload_works(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong() -> Any:
        raise ZeroDivisionError

    def talk(client: BlockingClient[Any]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(mountd.daemon._service, "reader", lambda: wrong)
            os.kill(os.getpid(), signal.SIGHUP)
            until(lambda: "ZeroDivisionError" in caplog.text)
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: "configuration read, generation" in caplog.text)

    caplog.set_level(logging.INFO, "usmbd.conn")
    mountd.serve(talk)


def test_who_asks_for_a_reload_is_told_what_became_of_it(mountd: Mountd) -> None:
    def talk(client: BlockingClient[Any]) -> None:
        mountd.configure("workgroup = OTHERS")
        assert client.request(ReloadRequest()) == ReloadResponse()
        assert client.request(ServerConfigRequest()).config.workgroup == "OTHERS"
        mountd.configure("workgroup = MORE\ntcp port = many")
        answer = client.request(ReloadRequest())
        assert answer.refused.startswith(f"{mountd.file}:")
        assert answer.users
        mountd.configure("workgroup = MORE")
        mountd.passwords.rename(mountd.state / "elsewhere")
        answer = client.request(ReloadRequest())
        assert answer.refused.startswith(f"{mountd.passwords}: there is no such file: put it back")
        assert not answer.users
        assert client.request(ServerConfigRequest()).config.workgroup == "OTHERS"
        mountd.passwords.write_text("alice")
        mountd.configure("tcp port = many")
        answer = client.request(ReloadRequest())
        assert "port" in answer.refused
        assert "the line is not NAME:HASH" in answer.refused
        assert not answer.users

    mountd.serve(talk)


def test_all_who_wait_are_told_but_not_more_than_there_is_room_for(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RELOADS", 2)

    def talk(client: BlockingClient[Any]) -> None:
        slowly = Slowly(mountd, monkeypatch)
        first, second = (client.send(ReloadRequest()) for _ in range(2))
        assert isinstance(client.request(ReloadRequest()), Failed)
        slowly.go.set()
        codec = mountd_client()
        found = [codec.decode(client._socket.recv(1 << 18)) for _ in range(3)]
        assert [each for each in found if each[0]] == [
            (first, ReloadResponse()),
            (second, ReloadResponse()),
        ]

    mountd.serve(talk)


def test_who_does_not_wait_any_more_takes_no_room(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(client: BlockingClient[Any]) -> None:
        slowly = Slowly(mountd, monkeypatch)
        other = BlockingClient(mountd.state / MOUNTD_SOCKET, mountd_client())
        other.send(ReloadRequest())
        until(lambda: len(mountd.daemon._asked) == 1)
        other.close()
        until(lambda: not mountd.daemon._asked)
        slowly.go.set()
        assert client.request(ReloadRequest()) == ReloadResponse()

    mountd.serve(talk)
