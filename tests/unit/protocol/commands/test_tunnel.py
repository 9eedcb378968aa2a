"""A file that is made anew by the 8.3 name by which another has gone ([MS-FSA] 2.1.1.2)."""

from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.notify import basic, set_info
from smbengine.server import Engine

from usmbd.protocol.state.tunnel import TUNNEL_MAX, TUNNEL_SECONDS, Tunnel
from usmbd.protocol.vfs.short_names import short_name
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DELETE_ON_CLOSE, CreateResponse
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_ALLOCATION_SIZE
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

LONG = "a rather long name.text"
SHORT = short_name(LONG)
STAMP = from_ns(1_500_000_000_000_000_000)


def made(client: Client, engine: Engine) -> None:
    """Make a file of a certain age in a folder."""
    (engine.files / "dir").mkdir()
    file = client.open(rf"dir\{LONG}")
    assert set_info(client, file, 4, basic(creation=STAMP)) is NtStatus.SUCCESS
    client.close(file)


def delete(client: Client, name: str) -> None:
    client.close(client.open(rf"dir\{name}", options=FILE_DELETE_ON_CLOSE))


def rename(client: Client, name: str) -> None:
    file = client.open(rf"dir\{name}")
    body = requests.rename(file, r"dir\backup")
    assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    client.close(file)


def make(client: Client, name: str) -> int:
    """Make a file anew; return its creation time."""
    reply = client.call(Command.CREATE, requests.create(rf"dir\{name}", disposition=FILE_CREATE))
    client.close(reply.file_id)
    return reply.parse(CreateResponse).creation_time


@pytest.mark.parametrize("goes", [delete, rename])
@pytest.mark.parametrize("case", [str, str.lower])
def test_it_has_the_long_name_again(
    client: Client,
    engine: Engine,
    goes: Callable[[Client, str], None],
    case: Callable[[str], str],
) -> None:
    """And the creation time (smb2.mangle); once."""
    made(client, engine)
    goes(client, case(SHORT))
    assert not (engine.files / "dir" / LONG).exists()
    assert make(client, SHORT) == STAMP
    assert (engine.files / "dir" / LONG).exists()
    client.close(client.open(rf"dir\{LONG}", options=FILE_DELETE_ON_CLOSE))
    assert make(client, SHORT) != STAMP
    assert (engine.files / "dir" / SHORT).exists()


def test_what_is_refused_leaves_it_to_the_next(client: Client, engine: Engine) -> None:
    """Here for want of room; the program tries again with less."""
    made(client, engine)
    delete(client, SHORT)
    much = SMB2_CREATE_ALLOCATION_SIZE, (1 << 60).to_bytes(8, "little")
    body = requests.create(rf"dir\{SHORT}", disposition=FILE_CREATE, contexts=[much])
    assert client.call(Command.CREATE, body).status is NtStatus.DISK_FULL
    assert list((engine.files / "dir").iterdir()) == []
    assert make(client, SHORT) == STAMP
    assert len(engine.server.tunnel) == 0


@pytest.mark.parametrize("name", ["another", "later"])
def test_what_is_made_by_another_name_or_later_is_new(
    client: Client, engine: Engine, name: str
) -> None:
    made(client, engine)
    delete(client, SHORT)
    if name == "later":
        engine.clock.advance(TUNNEL_SECONDS)
        assert make(client, SHORT) != STAMP
    else:
        assert make(client, LONG) != STAMP
        assert [path.name for path in (engine.files / "dir").iterdir()] == [LONG]


def test_a_file_that_goes_by_its_own_name_is_gone(client: Client, engine: Engine) -> None:
    made(client, engine)
    delete(client, LONG)
    assert len(engine.server.tunnel) == 0
    assert make(client, LONG) != STAMP


def test_what_is_kept_has_a_bound(engine: Engine) -> None:
    tunnel = Tunnel(engine.clock)
    for number in range(TUNNEL_MAX + 1):
        tunnel.add("/share", f"A{number}", f"long{number}", 1)
    assert len(tunnel) == TUNNEL_MAX
    assert tunnel.find("/share", "A0", False) == ("A0", 0)
    assert tunnel.find("/other", "A1", False) == ("A1", 0)
    assert tunnel.find("/share", "a1", True) == ("a1", 0)  # each name as it is
    assert tunnel.find("/share", "a1", False) == ("long1", 1)
    tunnel.forget("/share", "A1")
    assert tunnel.find("/share", "A1", False) == ("A1", 0)
