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
from usmbd.mountd.ipc.messages import (
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
