"""Logins by NTLMv1, with pyspnego as the client, which does it as LM_COMPAT_LEVEL says."""

from pathlib import Path

import pytest
from smbengine.client import Client
from smbengine.configured import Configured

from usmbd.protocol.wire.status import NtStatus

PLAIN, SESSION_SECURITY, V2 = "0", "2", "3"
"""Values of LM_COMPAT_LEVEL: NTLMv1, NTLMv1 with extended session security, NTLMv2."""


def serve(path: Path, permitted: str) -> Configured:
    (path / "data").mkdir()
    text = f"[global]\nntlm auth = {permitted}\n[data]\npath = {{path}}/data\nread only = no\n"
    return Configured(path, text)


@pytest.mark.parametrize("level", [PLAIN, SESSION_SECURITY, V2])
@pytest.mark.parametrize("permitted", ["ntlmv1-permitted", "Yes"])
@pytest.mark.parametrize("dialect", [0x202, 0x311])
def test_where_it_is_permitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, permitted: str, dialect: int
) -> None:
    monkeypatch.setenv("LM_COMPAT_LEVEL", level)
    engine = serve(tmp_path, permitted)
    client = Client(engine)
    client.negotiate(dialect)
    assert client.login("alice", "guess").status is NtStatus.LOGON_FAILURE
    client = Client(engine)
    client.negotiate(dialect)
    assert client.login("alice", "secret").status is NtStatus.SUCCESS
    assert client.connect("data").status is NtStatus.SUCCESS  # signed by the key of the login
    engine.close()


@pytest.mark.parametrize("level", [PLAIN, SESSION_SECURITY])
@pytest.mark.parametrize("permitted", ["ntlmv2-only", "no", "mschapv2-and-ntlmv2-only"])
def test_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, permitted: str
) -> None:
    engine = serve(tmp_path, permitted)
    monkeypatch.setenv("LM_COMPAT_LEVEL", level)
    client = Client(engine)
    client.negotiate()
    assert client.login("alice", "secret").status is NtStatus.LOGON_FAILURE
    monkeypatch.setenv("LM_COMPAT_LEVEL", V2)
    client = Client(engine)
    client.negotiate()
    assert client.login("alice", "secret").status is NtStatus.SUCCESS
    engine.close()
