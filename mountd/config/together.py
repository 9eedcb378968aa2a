"""What does not go together: values that are right each by itself.

Together they shut everybody out, do nothing, or promise what cannot be kept.
"""

from collections.abc import Iterator
from typing import Any

from usmbd.mountd.config.choose import Chosen
from usmbd.mountd.config.kerberos import NtlmAuth
from usmbd.mountd.config.source import Entry
from usmbd.mountd.config.usershare_rules import NAMES as USERSHARES
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.settings import Durability, Encryption, ServerConfig

SMB3 = 0x0300
"""The first dialect that encrypts ([MS-SMB2] 3.3.1.5)."""

_KEEPS_HANDLES = (("durable handles", True), ("kernel oplocks", False), ("posix locking", False))
"""Without which no handle outlives its connection."""

Remark = tuple[Entry, str]
"""The entry that it is about, and what is to be known."""


def wrong_in_global(
    chosen: Chosen, values: dict[str, Any], *, kerberos: bool, accounts: Accounts
) -> Iterator[Remark]:
    """Return what cannot be meant of [global]."""
    yield from _nobody_encrypts("smb3 encryption", chosen, values, values["server max protocol"])
    if not kerberos:
        yield from _of_domains(chosen, values)
        if values["ntlm auth"] is NtlmAuth.DISABLED:
            entry = chosen["ntlm auth"][1]
            why = "nobody could log in without Kerberos (`kerberos method`)"
            yield entry, f"{entry.name} = disabled: {why}"
    yield from _no_account_for_guests(chosen, values, accounts)


def odd_in_global(chosen: Chosen, values: dict[str, Any], accounts: Accounts) -> Iterator[Remark]:
    """Return what is taken of [global], and has to be known."""
    yield from _root_for_guests(chosen, values, accounts)
    if "usershare max shares" not in chosen and (meant := chosen.keys() & {*USERSHARES}):
        entry = chosen[min(meant)][1]
        why = "there are no usershares without `usershare max shares = 100`"
        yield entry, f"{entry.name}: without effect: {why}"
    if values["ntlm auth"] is NtlmAuth.NTLMV1:
        entry = chosen["ntlm auth"][1]
        yield (
            entry,
            f"{entry.name} = {NtlmAuth.NTLMV1}: who listens to a login by NTLMv1 finds the"
            " password's hash in hours, and can be the user with it",
        )


def wrong_in_share(
    chosen: Chosen, values: dict[str, Any], server: ServerConfig, accounts: Accounts
) -> Iterator[Remark]:
    """Return what cannot be meant of a share."""
    yield from _no_handle_stays(chosen, values)
    if not server.kerberos:
        yield from _of_domains(chosen, values)
    yield from _no_account_for_guests(chosen, values, accounts)


def odd_in_share(
    chosen: Chosen, values: dict[str, Any], server: ServerConfig, accounts: Accounts
) -> Iterator[Remark]:
    """Return what is taken, and has to be known."""
    yield from _root_for_guests(chosen, values, accounts)
    yield from _nobody_encrypts("server smb encrypt", chosen, values, server.max_protocol)
    if values["compress data"] and not server.compression:
        entry = chosen["compress data"][1]
        yield entry, f"{entry.name}: nothing is compressed, as smb3 compression = no"
    if values["guest only"] and not values["guest ok"]:
        entry = chosen["guest only"][1]
        why = "without effect where guest ok = no (smb.conf(5)): users are who they are"
        yield entry, f"{entry.name} = yes: {why}, and guests are not let in"
    has_to_sign = server.protected or values["server smb encrypt"] is Encryption.REQUIRED
    if values["guest ok"] and has_to_sign:
        name = next((name for name in ("guest only", "guest ok") if name in chosen), "")
        if name:
            yield (
                chosen[name][1],
                f"{name}: no guest is let in: he has no key to sign or encrypt with, as"
                " `server signing`, `smb3 encryption` or `server smb encrypt` demand",
            )
    outlives_boot = values["persistent handles durability"] is not Durability.NONE
    in_state = server.data_directory == server.state_directory
    if values["continuous availability"] and outlives_boot and in_state:
        yield (
            chosen["continuous availability"][1],
            f"handles lie in the state directory {server.state_directory}, which a restart"
            " of the machine may empty: `data directory = /folder` keeps them",
        )


def _no_handle_stays(chosen: Chosen, values: dict[str, Any]) -> Iterator[Remark]:
    """Return what keeps `continuous availability` from being what it promises."""
    if not values["continuous availability"]:
        return
    entry = chosen["continuous availability"][1]
    for name, needed in _KEEPS_HANDLES:
        if values[name] is not needed:
            yield entry, f"{entry.name} = yes needs {name} = {'yes' if needed else 'no'}"


def who_is_listed(chosen: Chosen, values: dict[str, Any]) -> Iterator[tuple[Entry, str]]:
    """Return each user and `@group` that the lists of who may do what name."""
    for name, (_, entry) in chosen.items():
        if name.endswith((" users", " list")):
            for word in values.get(name, ()):
                yield entry, word


def _nobody_encrypts(
    name: str, chosen: Chosen, values: dict[str, Any], highest: int
) -> Iterator[Remark]:
    """Return a demand for encryption that no dialect which is served can meet."""
    if values[name] is Encryption.REQUIRED and highest < SMB3:
        entry = chosen[name][1]
        yield entry, f"{entry.name} = required: nobody can encrypt with this server max protocol"


def _of_domains(chosen: Chosen, values: dict[str, Any]) -> Iterator[Remark]:
    r"""Return the lists that name `DOMAIN\user` where only users of the password file log in."""
    for entry, word in who_is_listed(chosen, values):
        if "\\" in word:
            bare = word[0] * word.startswith("@") + word.rpartition("\\")[2]
            yield (
                entry,
                f"{entry.name}: {word!r}: without Kerberos (`kerberos method`) there are no"
                f" domains, only the users of the password file: write {bare}",
            )


def _no_account_for_guests(
    chosen: Chosen, values: dict[str, Any], accounts: Accounts
) -> Iterator[Remark]:
    """Return a guest account that nobody has; smbd does not start with it either."""
    name = "guest account"
    said = accounts.privileged and name in chosen and values.get(name)
    if said and accounts.uid(said) is None:
        yield chosen[name][1], f"{name} = {said}: there is no such account; nobody is usual"


def _root_for_guests(
    chosen: Chosen, values: dict[str, Any], accounts: Accounts
) -> Iterator[Remark]:
    """Return a guest account that is root's, which guests do not get (`Accounts.guest`)."""
    name = "guest account"
    if name in chosen and values.get(name) and accounts.uid(values[name]) == 0:
        entry = chosen[name][1]
        yield entry, f"{name} = {values[name]}: strangers never act as root, but as nobody"
