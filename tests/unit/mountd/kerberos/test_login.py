"""Logins by tickets: who gets in as whom, and what is remembered."""

import pytest
from kerberos_server import Server
from smbtest.tickets import Initiator, Pac

from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.config.idmap import IdmapRange
from usmbd.mountd.identity import Account
from usmbd.mountd.ipc.messages import LoginStatus, TicketMicRequest, TicketRequest
from usmbd.mountd.ipc.settings import MapToGuest
from usmbd.mountd.kerberos.login import MAX_WAITING, WAIT_SECONDS
from usmbd.mountd.kerberos.principals import Mapping

LIST = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"
RANGE = IdmapRange("DOM", "rid", 100_000, 199_999)


def test_a_ticket_lets_its_user_in(server: Server) -> None:
    client = Initiator(server.forge.ticket())
    answer = server.login().login("worker", TicketRequest(client.token, "192.0.2.1"), 0.0)
    client.finish(answer.token)
    assert (answer.status, answer.user) == (LoginStatus.OK, "alice")
    assert (answer.uid, answer.gid, answer.groups) == (1001, 101, [101, 500])
    assert answer.session_base_key == client.key
    assert answer.expires
    assert answer.mech_list_mic == b""


def test_who_has_no_account(server: Server) -> None:
    ticket = server.forge.ticket("stranger")
    assert server.of(ticket).status is LoginStatus.BAD_USER
    guest = server.of(ticket, server.login(map_to_guest=MapToGuest.BAD_UID))
    assert (guest.status, guest.user, guest.uid) == (LoginStatus.GUEST, "nobody", 65534)
    assert guest.session_base_key == b""
    bad = server.of(ticket, server.login(map_to_guest=MapToGuest.BAD_USER))
    assert bad.status is LoginStatus.BAD_USER
    assert server.of(server.forge.ticket("root")).status is LoginStatus.BAD_USER


def test_a_user_of_the_password_file_alone_has_the_guest_s_ids(server: Server) -> None:
    answer = server.of(server.forge.ticket("ghost"))
    assert (answer.status, answer.user, answer.uid) == (LoginStatus.OK, "ghost", 65534)


def test_bad_tickets_are_refused(server: Server) -> None:
    login = server.login()
    answer = login.login("worker", TicketRequest(b"\x60\x01x", "192.0.2.1"), 0.0)
    assert answer.status is LoginStatus.BAD_TICKET
    assert server.of(server.forge.ticket(pac=Pac(good=False))).status is LoginStatus.BAD_TICKET


def test_the_list_is_signed_before_anybody_gets_in(server: Server) -> None:
    login, client = server.login(), Initiator(server.forge.ticket())
    first = login.login("worker", TicketRequest(client.token, "192.0.2.1", mech_list=LIST), 0.0)
    assert (first.status, first.user, first.session_base_key) == (LoginStatus.MIC_WANTED, "", b"")
    client.finish(first.token)
    client.verify(LIST, first.mech_list_mic)
    request = TicketMicRequest(first.context, client.sign(LIST), "192.0.2.1")
    assert login.finish("another", request, 1.0).status is LoginStatus.BAD_TICKET
    # Whoever asks wrongly ends the exchange.
    assert login.finish("worker", request, 1.0).status is LoginStatus.BAD_TICKET


@pytest.mark.parametrize(
    ("signed", "later", "status"),
    [
        (LIST, 1.0, LoginStatus.OK),
        (LIST + b"x", 1.0, LoginStatus.BAD_TICKET),
        (LIST, WAIT_SECONDS + 1, LoginStatus.BAD_TICKET),
    ],
)
def test_the_client_s_signature(
    server: Server, signed: bytes, later: float, status: LoginStatus
) -> None:
    login, client = server.login(), Initiator(server.forge.ticket())
    first = login.login("worker", TicketRequest(client.token, "192.0.2.1", mech_list=LIST), 0.0)
    client.finish(first.token)
    request = TicketMicRequest(first.context, client.sign(signed), "192.0.2.1")
    answer = login.finish("worker", request, later)
    assert answer.status is status
    assert (answer.session_base_key == client.key) is (status is LoginStatus.OK)
    assert login.finish("worker", request, later).status is LoginStatus.BAD_TICKET  # once


@pytest.mark.parametrize("good", [True, False])
def test_a_signature_that_comes_along(server: Server, good: bool) -> None:
    client = Initiator(server.forge.ticket(), mutual=False)
    mic = client.sign(LIST if good else b"x")
    request = TicketRequest(client.token, "192.0.2.1", mech_list=LIST, mech_list_mic=mic)
    answer = server.login().login("worker", request, 0.0)
    assert answer.status is (LoginStatus.OK if good else LoginStatus.BAD_TICKET)
    if good:
        client.verify(LIST, answer.mech_list_mic)


def test_what_waits_is_bounded_and_goes_with_its_worker(server: Server) -> None:
    login = server.login()
    ticket = server.forge.ticket()
    for worker in ["one", *["two"] * MAX_WAITING]:
        request = TicketRequest(Initiator(ticket).token, "192.0.2.1", mech_list=LIST)
        assert login.login(worker, request, 0.0).status is LoginStatus.MIC_WANTED
    assert len(server.waiting._contexts) == MAX_WAITING
    server.waiting.worker_gone("two")
    assert not server.waiting._contexts


def test_a_session_stays_while_its_user_is_who_he_was(server: Server) -> None:
    answer = server.of(server.forge.ticket())
    later = server.login().still_valid("alice", answer.ticket)
    assert (later.valid, later.uid, later.groups) == (True, 1001, [101, 500])
    assert not server.login().still_valid("bob", answer.ticket).valid
    changed = answer.ticket[:-1] + bytes([answer.ticket[-1] ^ 1])
    assert not server.login().still_valid("alice", changed).valid
    assert not server.login(Mapping("DOM", realm="X")).still_valid("alice", answer.ticket).valid
    assert (
        not server.login(Mapping("DOM", least_uid=2000)).still_valid("alice", answer.ticket).valid
    )


def test_the_domain_s_groups_get_ids(server: Server) -> None:
    server.ranges = [RANGE]
    pac = Pac(groups=(513, 1200, 200_000), extra=("S-1-5-21-9-9-9-7", "S-1-5-32-544"))
    answer = server.of(server.forge.ticket(pac=pac))
    assert (answer.uid, answer.groups) == (1001, [101, 500, 100_513, 101_200])
    again = server.login().still_valid("alice", answer.ticket)
    assert again.groups == answer.groups
    facts = server.login().facts(answer.ticket)
    assert facts is not None
    known = server.login().account(facts)
    assert known == Account("alice", 1001, 101, (101, 500, 100_513, 101_200))


def test_a_user_whom_only_the_domain_knows(server: Server) -> None:
    server.ranges = [RANGE]
    answer = server.of(server.forge.ticket("carol", pac=Pac(rid=1106, groups=(513, 1200))))
    assert (answer.status, answer.user) == (LoginStatus.OK, "DOM\\carol")
    assert (answer.uid, answer.gid, answer.groups) == (101_106, 100_513, [100_513, 101_200])
    assert server.login().still_valid("DOM\\carol", answer.ticket).uid == 101_106
    # Another domain's name is not in the ticket: its users have no ids.
    other = server.of(server.forge.ticket("carol", pac=Pac(domain="OTHER")))
    assert other.status is LoginStatus.BAD_USER
    high = server.login(Mapping("DOM", least_uid=150_000))
    assert server.of(server.forge.ticket("carol", pac=Pac()), high).status is LoginStatus.BAD_USER


def test_autorid_gives_each_domain_a_part_and_remembers_it(server: Server) -> None:
    server.ranges = [IdmapRange("*", "autorid", 1_000_000, 1_299_999)]
    pac = Pac(rid=1106, extra=("S-1-5-21-9-9-9-7",))
    answer = server.of(server.forge.ticket("carol", pac=pac))
    assert answer.uid == 1_001_106
    assert answer.groups == [1_000_513, 1_001_200, 1_100_007]
    again = server.of(server.forge.ticket("carol", pac=Pac(rid=5, sid="S-1-5-21-9-9-9")))
    assert again.uid == 1_100_005
    third = server.of(server.forge.ticket("carol", pac=Pac(rid=5, sid="S-1-5-21-7-7-7")))
    assert third.uid == 1_200_005
    full = server.of(server.forge.ticket("carol", pac=Pac(rid=5, sid="S-1-5-21-6-6-6")))
    assert full.status is LoginStatus.BAD_USER


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (AccountFacts(disabled=True), LoginStatus.ACCOUNT_DISABLED),
        (AccountFacts(ends=1), LoginStatus.ACCOUNT_EXPIRED),
        (AccountFacts(1, must_change=True), LoginStatus.OK),  # of the password, not of the ticket
    ],
)
def test_an_account_that_lets_nobody_in(
    server: Server, facts: AccountFacts, status: LoginStatus
) -> None:
    """A ticket is no way around `--disable` and `--ends`, nor is a session that is there."""
    before = server.of(server.forge.ticket())
    server.facts["alice"] = facts
    answer = server.of(server.forge.ticket())
    assert answer.status is status
    assert bool(answer.session_base_key) == (status is LoginStatus.OK)
    still = server.login().still_valid("alice", before.ticket).valid
    assert still is (status is LoginStatus.OK)


def test_a_session_ends_with_the_first_of_ticket_and_account(server: Server) -> None:
    ticket = server.of(server.forge.ticket()).expires
    assert ticket
    for ends, expected in ((ticket - 5, ticket - 5), (ticket + 5, ticket)):
        server.facts["alice"] = AccountFacts(ends=ends)
        assert server.of(server.forge.ticket()).expires == expected
