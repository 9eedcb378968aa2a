"""What some of smbtorture's tests need beside a server: blocks that files share, and tickets."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from smbtest.images import CannotMountError, mounted_image
from smbtest.realm import Realm
from smbtest.server import ALICE, Server
from smbtest.torture import BTRFS, SHARE, by_ticket, wants_btrfs


class Extras(NamedTuple):
    """What was made."""

    realm: Realm | None
    """In which ALICE has her password, where a test wants one."""
    no_btrfs: str
    """Why there is none although tests want it."""


@contextmanager
def extras(server: Server, names: Iterable[str]) -> Iterator[Extras]:
    """Make what the tests need, before the server is started; it goes with the block."""
    names = list(names)
    realm, no_btrfs = None, ""
    with ExitStack() as stack:
        if any(map(by_ticket, names)):
            realm = stack.enter_context(Realm(pac=False).running())
            realm.add_user(ALICE.name, ALICE.password)
            server.options.environment |= realm.environment
            server.options.parameters |= {
                "realm": realm.name,
                "kerberos method": "dedicated keytab",
                "dedicated keytab file": str(realm.keytab),
            }
            if server.kind == "usmbd":
                server.options.parameters["min domain uid"] = "0"  # the accounts are the system's
        if any(map(wants_btrfs, names)):
            try:
                point = stack.enter_context(mounted_image(BTRFS))
            except CannotMountError as error:
                no_btrfs = str(error)
            else:
                server.shares[BTRFS] = server.shares[SHARE] | {"path": str(point)}
                if server.kind == "smbd":
                    server.shares[BTRFS]["vfs objects"] += " btrfs"
        yield Extras(realm, no_btrfs)
