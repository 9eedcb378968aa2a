"""Secrets that administrators have the server keep ([MS-LSAD] 3.1.4.6).

mountd encrypts and decrypts: here values pass as the client sent them, or will get them.
"""

from typing import Annotated, Any, Final

from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.secrets import (
    MAX_CIPHER,
    MAX_SECRET_NAME,
    AskSecret,
    DropSecret,
    FindSecret,
    MakeSecret,
    PutSecret,
    SecretValues,
    SetSecret,
)
from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    CALLS,
    POLICY_CREATE_SECRET,
    POLICY_GET_PRIVATE_INFORMATION,
    SECRET,
    SECRET_QUERY_VALUE,
    SECRET_SET_VALUE,
    OpenSecret,
    Policy,
)
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U32, Boxed, Handle, UnicodeString, Unique
from usmbd.mountd.rpc.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_INVALID_HANDLE,
    STATUS_INVALID_PARAMETER,
    STATUS_NAME_TOO_LONG,
    STATUS_OBJECT_NAME_COLLISION,
    STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_UNKNOWN_REVISION,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

OF_THIS_MACHINE: Final = ("L$", "M$")
MACHINE_NAMES: Final = frozenset({"$MACHINE.ACC", "SAC", "SAI", "SANSC"})
"""Secrets that nobody reaches from afar ([MS-LSAD] 3.1.1.4)."""

PREFIXES: Final = frozenset({"G$$", "G$", "NL$", "_sc_", *OF_THIS_MACHINE})
"""What is no name by itself (same section; 4.2 has NL$)."""

ERRORS: Final = {
    Result.DENIED: STATUS_ACCESS_DENIED,
    Result.EXISTS: STATUS_OBJECT_NAME_COLLISION,
    Result.NOT_FOUND: STATUS_OBJECT_NAME_NOT_FOUND,
    Result.INVALID: STATUS_UNKNOWN_REVISION,
}
"""What is encrypted with another key shows as another revision of the format, as with Samba."""

ValuePointer = Annotated[lsa.Cipher | None, Unique(ndr.of(lsa.Cipher))]
BoxedValue = Annotated[list[lsa.Cipher | None] | None, Unique(Boxed(Unique(ndr.of(lsa.Cipher))))]
TimePointer = Annotated[int | None, Unique(ndr.UINT64)]


def _answered(answer: Any) -> Any:
    """Return what mountd told; Status, or a fault, where a wish is not fulfilled."""
    if isinstance(answer, SecretValues):
        return answer
    if not isinstance(answer, Outcome) or answer.result is Result.FAILED:
        raise CallError(Fault.SERVER_TOO_BUSY)
    if answer.result is not Result.DONE:
        raise Status(ERRORS[answer.result])
    return answer


def _checked(name: str | None) -> str:
    """Return the name of a secret that may be reached; Status for another ([MS-LSAD] 3.1.1.4)."""
    if not name or "\\" in name or name in PREFIXES:
        raise Status(STATUS_INVALID_PARAMETER)
    if len(name) > MAX_SECRET_NAME:
        raise Status(STATUS_NAME_TOO_LONG)
    if name.startswith(OF_THIS_MACHINE) or name.upper() in MACHINE_NAMES:
        raise Status(STATUS_ACCESS_DENIED)
    return name


def _value(given: lsa.Cipher | None) -> bytes | None:
    if given is None or given.data is None:
        return None
    if len(given.data) > MAX_CIPHER:
        raise Status(STATUS_INVALID_PARAMETER)
    return given.data


def _told(value: bytes | None) -> lsa.Cipher | None:
    return None if value is None else lsa.Cipher(len(value), len(value), value)


def _wanted(view: View, name: UnicodeString, desired: U32) -> Asking[OpenSecret]:
    """Return what a handle of a secret will be, whether it is there or not; Status."""
    granted = SECRET.granted(desired, (yield from is_administrator(view)))
    return OpenSecret(_checked(name), granted)


@CALLS.call(16)
def create_secret(view: View, handle: Handle, name: UnicodeString, desired: U32) -> Asking[Handle]:
    """LsarCreateSecret: one that has no value yet ([MS-LSAD] 3.1.4.6.1)."""
    need(view.handles.get(handle, Policy).granted, POLICY_CREATE_SECRET)
    secret = yield from _wanted(view, name, desired)
    _answered((yield MakeSecret(view.caller.user, secret.name)))
    return view.handles.add(secret)


@CALLS.call(28)
def open_secret(view: View, handle: Handle, name: UnicodeString, desired: U32) -> Asking[Handle]:
    """LsarOpenSecret: what the policy was opened for does not matter ([MS-LSAD] 3.1.4.6.2)."""
    view.handles.get(handle, Policy)
    secret = yield from _wanted(view, name, desired)
    _answered((yield FindSecret(view.caller.user, secret.name)))
    return view.handles.add(secret)


@CALLS.call(29)
def set_secret(view: View, handle: Handle, new: ValuePointer, old: ValuePointer) -> Asking[None]:
    """LsarSetSecret: both values ([MS-LSAD] 3.1.4.6.3)."""
    secret = view.handles.get(handle, OpenSecret)
    need(secret.granted, SECRET_SET_VALUE)
    caller = view.caller
    values = _value(new), _value(old)
    _answered((yield SetSecret(caller.user, secret.name, caller.key, *values)))


@CALLS.call(30)
def query_secret(
    view: View,
    handle: Handle,
    new: BoxedValue,
    new_time: TimePointer,
    old: BoxedValue,
    old_time: TimePointer,
) -> Asking[tuple[BoxedValue, TimePointer, BoxedValue, TimePointer]]:
    """LsarQuerySecret: as much as the client has given room for ([MS-LSAD] 3.1.4.6.4)."""
    secret = view.handles.get(handle, OpenSecret)
    need(secret.granted, SECRET_QUERY_VALUE)
    found = _answered((yield AskSecret(view.caller.user, secret.name, view.caller.key)))
    return (
        None if new is None else [_told(found.new)],
        None if new_time is None else found.new_time,
        None if old is None else [_told(found.old)],
        None if old_time is None else found.old_time,
    )


@CALLS.call(42)
def store_private_data(
    view: View, handle: Handle, name: UnicodeString, value: ValuePointer
) -> Asking[None]:
    """LsarStorePrivateData: a secret by its name; without a value it goes ([MS-LSAD] 3.1.4.6.5)."""
    need(view.handles.get(handle, Policy).granted, POLICY_CREATE_SECRET)
    checked, data, caller = _checked(name), _value(value), view.caller
    if data is None:
        _answered((yield DropSecret(caller.user, checked)))
    else:
        _answered((yield PutSecret(caller.user, checked, caller.key, data)))


@CALLS.call(43)
def retrieve_private_data(
    view: View, handle: Handle, name: UnicodeString, value: ValuePointer
) -> Asking[ValuePointer]:
    """LsarRetrievePrivateData ([MS-LSAD] 3.1.4.6.6)."""
    need(view.handles.get(handle, Policy).granted, POLICY_GET_PRIVATE_INFORMATION)
    asked = AskSecret(view.caller.user, _checked(name), view.caller.key)
    return _told(_answered((yield asked)).new)


def delete_secret(view: View, secret: OpenSecret) -> Asking[None]:
    """Forget a secret; Status(INVALID_HANDLE) for one that another has deleted."""
    answer = yield DropSecret(view.caller.user, secret.name)
    if isinstance(answer, Outcome) and answer.result is Result.NOT_FOUND:
        raise Status(STATUS_INVALID_HANDLE)
    _answered(answer)
