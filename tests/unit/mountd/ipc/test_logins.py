"""What an answer to a login says where it says nothing."""

import msgspec

from usmbd.mountd.ipc.logins import LoginResponse, LoginStatus


def test_who_is_let_in_without_more_words_has_no_rights_and_no_end() -> None:
    """Each question has answers that name less than there is: nothing comes by itself."""
    known = LoginResponse(LoginStatus.OK, "alice", 1, 2)
    nothing = {"groups": [], "session_base_key": b"", "credential": 0, "ticket": b"", "expires": 0}
    nothing |= {"token": b"", "mech_list_mic": b"", "context": 0}
    facts = msgspec.structs.asdict(known)
    assert {name: facts[name] for name in nothing} == nothing
    anonymous = msgspec.structs.asdict(LoginResponse(LoginStatus.ANONYMOUS))
    assert anonymous == {**facts, "status": LoginStatus.ANONYMOUS, "user": "", "uid": 0, "gid": 0}
