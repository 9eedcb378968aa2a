"""What the tests of mountd share: accounts that need no system, and NTLMv2 clients."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

from usmbd.mountd.config.load import Configuration, load
from usmbd.mountd.identity import Account, Accounts
from usmbd.mountd.ipc.messages import LoginRequest, TreeConnectRequest
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.ntlm import nt_owf_v2
from usmbd.mountd.slices import Steps

CHALLENGE = b"\x01\x23\x45\x67\x89\xab\xcd\xef"


def answered(steps: Steps) -> Any:
    """Take all steps of an answer."""
    try:
        while True:
            next(steps)
    except StopIteration as ended:
        return ended.value


class FakeAccounts(Accounts):
    """A system with alice, bob, nobody and root, as a privileged server sees it."""

    def __init__(self) -> None:
        """Make the accounts."""
        self.privileged = True
        self.accounts = {
            "root": Account("root", 0, 0, (0,)),
            "alice": Account("alice", 1001, 101, (101, 500)),
            "bob": Account("bob", 1002, 102, (102,)),
            "nobody": Account("nobody", 65534, 65534, (65534,)),
        }
        self.members = {"staff": {"alice"}}

    def find(self, name: str) -> Account | None:
        """Return one of the accounts."""
        return self.accounts.get(name)

    def uid(self, name: str) -> int | None:
        """Return the uid of one of the accounts."""
        return self.accounts[name].uid if name in self.accounts else None

    def home(self, name: str) -> str:
        """Return a home below /home, and none for bob."""
        return f"/home/{name}" if name in self.accounts and name != "bob" else ""

    def homes(self) -> dict[str, str]:
        """Return none: the system lists nobody."""
        return {}

    def primary_group(self, name: str) -> str:
        """Return a group of the user's own name."""
        return f"{name}s" if name in self.accounts else ""

    def group_name(self, gid: int) -> str:
        """Return a name made of the number."""
        return f"group{gid}"

    def find_group(self, name: str) -> int | None:
        """Return the one group."""
        return 500 if name in self.members else None

    def is_member(self, user: str, group: str) -> bool:
        """Return whether the user is in the group."""
        return user in self.members.get(group, ())


def login(user: str, password: str, address: str = "192.0.2.1") -> LoginRequest:
    """Return the login that a client with this password sends."""
    blob = b"\x01\x01" + b"\0" * 30
    key = nt_owf_v2(nt_hash(password), user, "DOMAIN")
    proof = hmac.digest(key, CHALLENGE + blob, hashlib.md5)
    return LoginRequest(user, "DOMAIN", "PC", CHALLENGE, proof + blob, address)


def tree(share: str, user: str = "alice", **more: object) -> TreeConnectRequest:
    """Return a tree connect."""
    facts: dict[str, object] = {
        "session_id": 1,
        "tree_id": 1,
        "uid": 0,
        "gid": 0,
        "groups": [0],
        "client_address": "192.0.2.1",
    }
    facts.update(more)
    return TreeConnectRequest(share=share, user=user, **facts)  # type: ignore[arg-type]


def configuration(text: str, name: str = "usmbd.conf") -> Configuration:
    """Return what the text says, as if it stood in /etc/NAME."""
    return load(Path("/etc") / name, text)
