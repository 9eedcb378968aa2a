"""Who must not come in, does not: and is told so, with the status that clients know."""

from collections.abc import Callable

import impacket.ntlm
import pytest
from impacket.smbconnection import SessionError, SMBConnection
from smbprotocol.header import NtStatus
from smbtest.client import Client, refused
from smbtest.samba_tools import smbclient
from smbtest.server import ALICE, Account, Options, Server


@pytest.mark.parametrize("dialect", ["SMB2_02", "SMB3_11"])
def test_a_wrong_password(server: Server, dialect: str) -> None:
    wrong = Account(ALICE.name, "not-this")
    said = smbclient(server, ["ls"], account=wrong, dialect=dialect, ok=False)
    assert "NT_STATUS_LOGON_FAILURE" in said
    smbclient(server, ["ls"], dialect=dialect)


def test_an_unknown_user_looks_like_a_wrong_password(server: Server) -> None:
    said = smbclient(server, ["ls"], account=Account("nobody-here", "x"), ok=False)
    assert "NT_STATUS_LOGON_FAILURE" in said


def test_an_empty_password(server: Server) -> None:
    said = smbclient(server, ["ls"], account=Account(ALICE.name, ""), ok=False)
    assert "NT_STATUS_LOGON_FAILURE" in said


def test_an_unknown_share(server: Server) -> None:
    assert "NT_STATUS_BAD_NETWORK_NAME" in smbclient(server, ["ls"], share="nothing", ok=False)
    with refused(NtStatus.STATUS_BAD_NETWORK_NAME):
        Client(server, share="nothing")


def test_share_names_have_no_case(server: Server) -> None:
    smbclient(server, ["ls"], share="DATA")


@pytest.mark.parametrize("session_security", [True, False], ids=["ntlm2-session", "ntlmv1"])
def test_ntlmv1(server: Server, monkeypatch: pytest.MonkeyPatch, session_security: bool) -> None:
    """[MS-NLMP] 3.3.1: both forms of NTLMv1 can be broken by anybody who listens."""
    negotiate = impacket.ntlm.getNTLMSSPType1

    def without_session_security(*arguments: object, **options: object) -> object:
        message = negotiate(*arguments, **options)
        message["flags"] &= ~impacket.ntlm.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY
        return message

    def version_1(flags: int, *rest: object, **_: object) -> object:
        return impacket.ntlm.computeResponseNTLMv1(flags, *rest[:9])

    if not session_security:
        monkeypatch.setattr(impacket.ntlm, "getNTLMSSPType1", without_session_security)
    monkeypatch.setattr(impacket.ntlm, "computeResponse", version_1)
    connection = SMBConnection(server.host, server.host, sess_port=server.port, timeout=20)
    # the second: without session security, the negotiation itself is bad (3.2.5.1.1)
    with pytest.raises(SessionError, match=r"LOGON_FAILURE|INVALID_PARAMETER"):
        connection.login(ALICE.name, ALICE.password, ntlmFallback=False)
    connection.close()
    monkeypatch.undo()
    connection = SMBConnection(server.host, server.host, sess_port=server.port, timeout=20)
    connection.login(ALICE.name, ALICE.password)
    connection.close()


@pytest.mark.parametrize("value", ["ntlmv1-permitted", "mschapv2-and-ntlmv2-only"])
def test_ntlmv1_where_it_is_permitted(
    start_server: Callable[[Options], Server], value: str
) -> None:
    """smb.conf(5), `ntlm auth`: with and without extended session security."""
    server = start_server(Options(parameters={"ntlm auth": value}))
    permitted = value == "ntlmv1-permitted"
    for more in ("ntlmssp_client:ntlm2=yes", "ntlmssp_client:ntlm2=no"):
        options = ["client ntlmv2 auth=no", more]
        for protection in ("off", "sign", "encrypt"):
            said = smbclient(server, ["ls"], options=options, protection=protection, ok=permitted)
            assert ("NT_STATUS_LOGON_FAILURE" in said) is not permitted
        wrong = Account(ALICE.name, "not-this")
        said = smbclient(server, ["ls"], account=wrong, options=options, ok=False)
        assert "NT_STATUS_LOGON_FAILURE" in said
    connection = SMBConnection(server.host, server.host, sess_port=server.port, timeout=20)
    if permitted:
        connection.login(ALICE.name, ALICE.password)
        connection.close()


def test_no_guest_without_being_told(server: Server) -> None:
    said = smbclient(server, ["ls"], account=None, ok=False)
    assert "NT_STATUS_ACCESS_DENIED" in said or "NT_STATUS_LOGON_FAILURE" in said


def test_guests_where_they_are_welcome(start_server: Callable[[Options], Server]) -> None:
    options = Options(parameters={"map to guest": "bad user", "guest account": "nobody"})
    server = start_server(options)
    stranger = Account("nobody-here", "x")
    said = smbclient(server, ["ls"], account=stranger, ok=False)
    assert "NT_STATUS_ACCESS_DENIED" in said
    # and a user who has an account is no guest by a wrong password
    said = smbclient(server, ["ls"], account=Account(ALICE.name, "wrong"), ok=False)
    assert "NT_STATUS_LOGON_FAILURE" in said


def test_a_share_for_guests(start_server: Callable[[Options], Server]) -> None:
    options = Options(parameters={"map to guest": "bad user", "guest account": "nobody"})
    options.shares["public"] = {"path": "/usr/share/common-licenses", "guest ok": "yes"}
    server = start_server(options)
    for stranger in (Account("nobody-here", "x"), None):
        said = smbclient(server, ["ls GPL-2"], share="public", account=stranger, protection="off")
        assert "GPL-2" in said


def test_tampering_is_noticed(server: Server) -> None:
    """A signed request whose signature does not fit is answered with ACCESS_DENIED."""
    with Client(server, signed=True) as client:
        client.session.signing_key = bytes(16)
        client.connection.verify_signature = lambda *_, **__: None  # of the answer
        with refused(NtStatus.STATUS_ACCESS_DENIED):
            client.open("", options=1)
