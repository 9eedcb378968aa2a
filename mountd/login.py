"""Logins: a proof, the password file and the configuration give an identity or a refusal."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from usmbd.mountd import ntlm
from usmbd.mountd.account_facts import PasswordPolicy, closed
from usmbd.mountd.config.username_map import UsernameMap
from usmbd.mountd.credentials import Credentials
from usmbd.mountd.identity import Account, Accounts
from usmbd.mountd.ipc.messages import (
    LoginRequest,
    LoginResponse,
    LoginStatus,
    SessionRequest,
    SessionResponse,
)
from usmbd.mountd.ipc.settings import MapToGuest, ServerConfig
from usmbd.mountd.users import NO_PASSWORD, NT_HASH_SIZE, UserTable

# A hash that no password has for all that is known: an unknown user costs the same time.
_NO_HASH = b"\0" * NT_HASH_SIZE


PROVEN = (
    LoginStatus.OK,
    LoginStatus.PASSWORD_EXPIRED,
    LoginStatus.PASSWORD_MUST_CHANGE,
    LoginStatus.ACCOUNT_DISABLED,
    LoginStatus.ACCOUNT_EXPIRED,
)
"""What is answered to the right password alone."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Answers logins from one state of the password file and the configuration."""

    users: UserTable
    server: ServerConfig
    accounts: Accounts
    credentials: Credentials = field(default_factory=Credentials)
    names: UsernameMap = field(default_factory=UsernameMap)
    policy: PasswordPolicy = field(default_factory=PasswordPolicy)
    clock: Callable[[], float] = time.time
    """Seconds since 1970."""

    def account_of(self, user: str) -> str:
        """Return the account that a client means by a name (`username map`)."""
        return self.names.account(user, self.accounts.is_member)

    def login(self, request: LoginRequest) -> LoginResponse:
        """Return what the proof is worth; a login without a name is anonymous."""
        if not request.user:
            return self.anonymous()
        # The client's proof is made of the name that it says, with the account's password.
        name = self.users.find(self.account_of(request.user))
        key = self._key(self.users.hashes[name] if name is not None else _NO_HASH, request)
        if name is None:
            guests = (MapToGuest.BAD_USER, MapToGuest.BAD_PASSWORD)
            return self._refuse(LoginStatus.BAD_USER, guests)
        if key is None or self.users.hashes[name] == NO_PASSWORD:
            return self._refuse(LoginStatus.BAD_PASSWORD, (MapToGuest.BAD_PASSWORD,))
        # Who does not know the password does not learn of this, as on Windows.
        facts = self.users.facts_of(name)
        if (why := self.policy.refusal(facts, self.clock())) is not None:
            return LoginResponse(why)
        # ksmbd lets a user without an account of the system in as uid -1, who can do nothing
        # but use shares with `force user`. The same here, as the guest: a uid of -1 would
        # leave the worker's own identity in place.
        account = self.accounts.find(name) or self._guest()
        response = _response(LoginStatus.OK, name, account, key, self._credential(name))
        response.expires = facts.ends
        return response

    def _key(self, nt_hash: bytes, request: LoginRequest) -> bytes | None:
        """Return the key of a login whose proof is of this hash; else None."""
        if len(request.nt_response) != ntlm.V1_RESPONSE_SIZE:
            challenge, response = request.server_challenge, request.nt_response
            return ntlm.verify(nt_hash, request.user, request.domain, challenge, response)
        if not self.server.ntlmv1:
            return None
        return ntlm.verify_v1(
            nt_hash, request.server_challenge, request.nt_response, request.client_challenge
        )

    def still_valid(self, request: SessionRequest) -> SessionResponse:
        """Return whether who logged in before could do so now, by the same password."""
        if request.anonymous:
            return _session(self._guest())
        if request.guest:
            if self.server.map_to_guest is MapToGuest.NEVER:
                return SessionResponse(valid=False)
            return _session(self._guest())
        name = request.user
        if not self.is_open(name):
            return SessionResponse(valid=False)
        credential = self._credential(name)
        if request.credential != credential:
            return SessionResponse(valid=False, known=True)
        response = _session(self.accounts.find(name) or self._guest(), credential)
        response.expires = self.users.facts_of(name).ends
        return response

    def is_open(self, name: str) -> bool:
        """Tell whether there is an account of just this name that is not closed."""
        if self.users.find(name) != name:
            return False
        return closed(self.users.facts_of(name), self.clock()) is None

    def _credential(self, name: str) -> int:
        """Return what stands for a user's password."""
        return self.credentials.number(name, self.users.hashes[name])

    def anonymous(self) -> LoginResponse:
        """Return the null session's identity; what it reaches is decided at the tree connect."""
        return _response(LoginStatus.ANONYMOUS, "", self._guest())

    def _guest(self) -> Account:
        """Return the server's guest account."""
        return self.accounts.guest(self.server.guest_account)

    def _refuse(self, status: LoginStatus, guests: tuple[MapToGuest, ...]) -> LoginResponse:
        """Return the refusal, or the guest where `map to guest` is one of `guests`."""
        if self.server.map_to_guest in guests:
            return _response(LoginStatus.GUEST, self.server.guest_account, self._guest())
        return LoginResponse(status)


def _response(
    status: LoginStatus, user: str, account: Account, key: bytes = b"", credential: int = 0
) -> LoginResponse:
    """Return a login that is let in."""
    groups = list(account.groups)
    return LoginResponse(status, user, account.uid, account.gid, groups, key, credential)


def _session(account: Account, credential: int = 0) -> SessionResponse:
    """Return a session that may go on."""
    return SessionResponse(True, account.uid, account.gid, list(account.groups), credential)
