"""A share that is used on the server as well: local programs beside clients, in several workers."""

import os
from collections.abc import Iterator

import pytest
from smbtest import torture_list
from smbtest.peer import only_usmbd
from smbtest.server import Options
from smbtest.torture import Smbtorture, add_shares
from smbtest.usmbd import Usmbd


@pytest.fixture
def kernel_oplocks() -> Iterator[Usmbd]:
    only_usmbd("the parameter is set for it alone")
    server = Usmbd(Options())
    add_shares(server)
    for share in server.shares.values():
        share["kernel oplocks"] = "yes"
    with server.running():
        yield server


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests act as their users: needs root")
def test_samba_s_tests_of_kernel_oplocks(kernel_oplocks: Usmbd) -> None:
    """The last one holds a lease by a local program, the others follow one client by another."""
    names = [f"smb2.kernel-oplocks.kernel_oplocks{number}" for number in range(1, 9)]
    outcomes = Smbtorture(kernel_oplocks).run(names)
    assert {name: o.reason for name, o in outcomes.items() if o.status != "success"} == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests act as their users: needs root")
def test_samba_s_tests_of_locks_with_posix_locking() -> None:
    """They come out as without: among clients the store decides. But there is no durable handle."""
    only_usmbd("the parameter is set for it alone")
    server = Usmbd(Options())
    add_shares(server)
    server.shares["torture"]["posix locking"] = "yes"
    rows = torture_list.load()
    with server.running():
        torture = Smbtorture(server)
        names = [name for name in torture.tests("smb2.lock") if not name.endswith("_durable")]
        outcomes = torture.run(names)
    statuses = {name: outcome.status for name, outcome in outcomes.items()}
    assert statuses == {name: rows[name].status for name in statuses}
