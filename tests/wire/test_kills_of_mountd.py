"""mountd and its RPC process are killed in logins, long lists and changes of passwords.

Whoever asks gets an answer or an error, never silence, and the password file is whole.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from impacket.dcerpc.v5 import samr, srvs, transport
from impacket.dcerpc.v5.rpcrt import DCERPCException
from impacket.nmb import NetBIOSError
from impacket.smb3 import SessionError as SmbError
from impacket.smbconnection import SessionError, SMBConnection
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.server import ALICE, BOB, Account
from smbtest.usmbd import MOUNTD, RPC, Usmbd

from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import edit_users, format_users, load_users

KILLS = int(os.environ.get("USMBD_KILLS", "2"))
"""Of mountd; `make kills KILLS=n` makes more of them."""

RPC_KILLS = min(KILLS, 6)
"""An RPC process that dies again and again is started later each time."""

MORE = 5
"""So many times that, where nobody was in the middle of something: of two kills that was so once in
five whole runs."""

SECONDS = 30
"""Tells silence from a busy machine."""

USERS, SHARES = 1100, 300
"""So that lists take several answers, and a change of the password file some milliseconds."""

MORE_ENTRIES = 0x105
CHANGER = Account("changer", "Pass-0")

ENDED = (DCERPCException, SessionError, SmbError, NetBIOSError, ConnectionError, EOFError)
"""What a client hears of: statuses, faults, and the end of its connection. No answer in time is
NetBIOSTimeout, or TimeoutError, which is looked at before."""


class Crowded(Usmbd):
    """A server with many users and shares."""

    def prepare(self) -> list[str]:
        """Add the users to the file."""
        command = super().prepare()
        hashes = dict.fromkeys((f"u{number:05}" for number in range(USERS)), nt_hash("x"))
        hashes[CHANGER.name] = nt_hash(CHANGER.password)
        with self.password_path.open("a") as stream:
            stream.write(format_users(hashes))
        return command


@pytest.fixture
def server() -> Iterator[Crowded]:
    """Run a server of its own to be hurt, which BOB administrates."""
    only_usmbd("smbd has no mountd")
    made = Crowded()
    made.options.parameters["admin users"] = BOB.name
    made.shares |= {f"s{number:04}": {"path": str(made.data)} for number in range(SHARES)}
    with made.running():
        yield made


def connected(server: Usmbd, account: Account) -> SMBConnection:
    """Log in."""
    client = SMBConnection(server.host, server.host, sess_port=server.port, timeout=SECONDS)
    client.login(account.name, account.password)
    return client


def pipe(server: Usmbd, name: str, interface: Any, account: Account) -> Any:
    """Open a pipe and bind."""
    way = transport.SMBTransport(server.host, server.port, rf"\{name}")
    way.set_credentials(account.name, account.password)
    way.set_connect_timeout(SECONDS)
    dce = way.get_dce_rpc()
    dce.connect()
    dce.bind(interface)
    return dce


def log_in(server: Usmbd) -> None:
    """Log in and reach a share."""
    connected(server, ALICE).connectTree("data")


def list_users(server: Usmbd) -> None:
    """List all users and all shares."""
    dce = pipe(server, "samr", samr.MSRPC_UUID_SAMR, BOB)
    handle = samr.hSamrConnect(dce)["ServerHandle"]
    names = samr.hSamrEnumerateDomainsInSamServer(dce, handle)["Buffer"]["Buffer"]
    sid = samr.hSamrLookupDomainInSamServer(dce, handle, names[0]["Name"])["DomainId"]
    domain = samr.hSamrOpenDomain(dce, handle, domainId=sid)["DomainHandle"]
    found = resume = 0
    more = True
    while more:
        try:
            page = samr.hSamrEnumerateUsersInDomain(dce, domain, enumerationContext=resume)
            more = False
        except samr.DCERPCSessionError as error:
            if error.get_error_code() != MORE_ENTRIES:
                raise
            page = error.get_packet()
        found += page["CountReturned"]
        resume = page["EnumerationContext"]
    assert found == USERS + 3
    shares = pipe(server, "srvsvc", srvs.MSRPC_UUID_SRVS, BOB)
    rows = srvs.hNetrShareEnum(shares, 1)["InfoStruct"]["ShareInfo"]["Level1"]["Buffer"]
    assert len(rows) > SHARES


class Changer:
    """Changes a password again and again; where he hears nothing of it, it is one of two."""

    def __init__(self) -> None:
        """Begin with the first."""
        self.number = 0
        self.may_be = {CHANGER.password}

    def __call__(self, server: Usmbd) -> None:
        """Change it once, after finding out which it is."""
        for password in sorted(self.may_be):
            with suppress(SessionError):
                connected(server, Account(CHANGER.name, password)).close()
                self.may_be = {password}
                break
        (old,) = self.may_be
        self.number += 1
        new = f"Pass-{self.number}"
        self.may_be = {old, new}
        dce = pipe(server, "samr", samr.MSRPC_UUID_SAMR, ALICE)
        samr.hSamrUnicodeChangePasswordUser2(dce, server.host, CHANGER.name, old, new)
        self.may_be = {new}


class Work(threading.Thread):
    """One who does something until told to end."""

    def __init__(self, server: Usmbd, work: Callable[[Usmbd], None], stop: threading.Event) -> None:
        """Note what to do."""
        super().__init__(daemon=True)
        self.done = self.failed = 0
        self.odd: list[str] = []
        self._server, self._work, self._stop_now = server, work, stop

    def run(self) -> None:
        """Do it."""
        while not self._stop_now.is_set():
            began = time.monotonic()
            try:
                self._work(self._server)
                self.done += 1
                time.sleep(0.02)  # or the RPC process's late starts cost a core each
            except Exception as error:
                self.failed += 1
                silent = "imeout" in type(error).__name__ or time.monotonic() - began > SECONDS
                if silent or not isinstance(error, ENDED):
                    self.odd.append(repr(error))
                time.sleep(0.02)


def works(server: Usmbd, works: list[Work]) -> None:
    """Wait until each has come to an end once more."""
    before = [each.done for each in works]

    def went_on() -> bool:
        assert [each.odd for each in works if each.odd] == []
        return all(each.done > count for each, count in zip(works, before, strict=True))

    wait_for(went_on, 4 * SECONDS, "all to go on")


@pytest.mark.timeout(180 + 30 * KILLS)
@pytest.mark.parametrize(("victim", "kills"), [(MOUNTD, KILLS), (RPC, RPC_KILLS)])
def test_nobody_waits_for_the_dead(server: Crowded, victim: str, kills: int) -> None:
    chance = random.Random(victim)
    stop = threading.Event()
    changer = Changer()
    all_works = [Work(server, work, stop) for work in (log_in, list_users, changer)]
    for each in all_works:
        each.start()
    folder = Path(server.password_path).parent
    works(server, all_works)
    for number in range(kills * MORE):
        if number >= kills and any(each.failed for each in all_works):
            break
        time.sleep(chance.random() * 0.5)
        os.kill(server.processes_named(victim)[0], signal.SIGKILL)
        users = load_users(server.password_path)  # a ConfigError if it is not whole
        assert len(users) == USERS + 3
        works(server, all_works)
    stop.set()
    for each in all_works:
        each.join(2 * SECONDS)
        assert not each.is_alive()
        assert each.odd == []
    assert sum(each.failed for each in all_works) > 0  # somebody was in the middle
    hashes = {nt_hash(password) for password in changer.may_be}
    assert load_users(server.password_path).hashes[CHANGER.name] in hashes
    edit_users(server.password_path, lambda hashes: None)
    assert not list(folder.glob(f".{server.password_path.name}.*"))
