"""A client of pyspnego and a stand-in for mountd, for the tests of the acceptor."""

from collections.abc import Callable

import pytest

from usmbd.mountd import ntlm as proofs
from usmbd.mountd.md4 import nt_hash
from usmbd.protocol.auth.ntlm import LoginProof
from usmbd.protocol.auth.ntlm_messages import ServerNames
from usmbd.protocol.auth.spnego import Acceptor

PASSWORD = "pässword"
NOW = 0x01D0AECBADF5A1A1

Check = Callable[[LoginProof], bytes | None]


@pytest.fixture
def acceptor() -> Acceptor:
    """Return the server's side of a new authentication."""
    return Acceptor(ServerNames("SERVER", "GROUP", "server.example", "example"), NOW)


@pytest.fixture
def check() -> Check:
    """Return what mountd does with a proof: the base key of the user, or None."""

    def verify(proof: LoginProof) -> bytes | None:
        assert proof.user == "jürgen"
        return proofs.verify(
            nt_hash(PASSWORD), proof.user, proof.domain, proof.server_challenge, proof.nt_response
        )

    return verify
