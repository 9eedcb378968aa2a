"""Folders that users of the machine share: who connects has to get there by his own rights."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.commands import dfs
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

BOB = Identity(31002, 31002)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Run an engine whose share is a folder in one that root alone may enter."""
    engine = Engine(tmp_path, apart=True)
    engine.mountd.identities = {"bob": BOB}
    (tmp_path / "closed/open").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "leads").symlink_to("closed/open")
    yield engine
    engine.close()


@pytest.mark.parametrize("path", ["closed/open", "leads"])
@pytest.mark.parametrize(
    ("usershare", "status"), [(False, NtStatus.SUCCESS), (True, NtStatus.BAD_NETWORK_NAME)]
)
def test_whose_rights_lead_to_a_share(
    engine: Engine, tmp_path: Path, path: str, usershare: bool, status: NtStatus
) -> None:
    """The administrator's words suffice, a user's do not, whatever his path has become since."""
    share = msgspec.structs.replace(
        engine.shares["data"], path=str(tmp_path / path), usershare=usershare
    )
    engine.shares["theirs"] = share
    bob = Client(engine).ready(user="bob")
    reply = bob.call(Command.TREE_CONNECT, requests.tree_connect("theirs"))
    assert reply.status is status


@pytest.mark.parametrize("usershare", [False, True])
def test_whose_rights_lead_to_a_root_of_dfs(
    engine: Engine, tmp_path: Path, usershare: bool
) -> None:
    """Nobody is told of the links behind a folder that he cannot enter."""
    (tmp_path / "closed/open/link").symlink_to("msdfs:fs1\\a")
    share = msgspec.structs.replace(
        engine.shares["data"],
        path=str(tmp_path / "leads"),
        usershare=usershare,
        msdfs_root=True,
    )
    assert (dfs._find(share, BOB, "link") is None) is usershare
