"""Keys of the registry ([MS-RRP] 3.1.5.1 to 3.1.5.9, 3.1.5.15, 3.1.5.16, 3.1.5.21)."""

from typing import Annotated

from usmbd.mountd.admin.descriptors import Descriptor, pack, parse
from usmbd.mountd.ipc.registry import (
    MAX_DESCRIPTOR,
    MAX_KEY_NAME,
    CreateKey,
    DeleteKey,
    DescribeKey,
    FindSubkey,
    GetKeySecurity,
    KeyDescription,
    KeyOpened,
    KeySecurity,
    OpenKey,
    SetKeySecurity,
    SubkeyFound,
)
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.errors import (
    ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_PARAMETER,
    ERROR_MORE_DATA,
    ERROR_NOT_SUPPORTED,
    ERROR_PRIVILEGE_NOT_HELD,
)
from usmbd.mountd.rpc.interfaces.winreg.base import (
    CALLS,
    CLASSES,
    CURRENT_USER,
    KEY_ENUMERATE_SUB_KEYS,
    KEY_QUERY_VALUE,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
    find,
    need_administrator,
)
from usmbd.mountd.rpc.interfaces.winreg.types import (
    REG_CREATED_NEW_KEY,
    REG_OPENED_EXISTING_KEY,
    REG_OPTION_CREATE_LINK,
    REG_OPTION_VOLATILE,
    Key,
    RegistryText,
    Security,
    SecurityAttributes,
    SecurityOut,
    Text,
    TextPointer,
    Time,
    TimePointer,
    ask,
    file_time,
)
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U32, Handle, U32Pointer, Unique
from usmbd.mountd.rpc.view import View

Machine = Annotated[int | None, Unique(ndr.UINT16)]
"""The server's name in the calls that open a hive: one character, which says nothing."""

OWNER, GROUP, DACL, SACL = 1, 2, 4, 8
"""SECURITY_INFORMATION ([MS-RRP] 2.2.9)."""


def _open(view: View, path: tuple[str, ...], access: int) -> Asking[bytes]:
    """Open a key that is there."""
    _check(path)
    opened = yield from ask(OpenKey(view.caller.user, [*path], access), KeyOpened)
    return view.handles.add(Key(path, opened.granted))


def _check(path: tuple[str, ...]) -> None:
    """Status(ERROR_INVALID_PARAMETER) for a path that no key can have."""
    if len(path) > 31 or any(len(name) > MAX_KEY_NAME or "\0" in name for name in path):
        raise Status(ERROR_INVALID_PARAMETER)


def _hive(view: View, path: tuple[str, ...], access: int) -> Asking[bytes]:
    """Open a hive, or the part of one that goes by a name of its own."""
    yield from need_administrator(view)
    handle: bytes = yield from _open(view, path, access)
    return handle


@CALLS.call(0)
def open_classes_root(view: View, machine: Machine, access: U32) -> Asking[Handle]:
    """OpenClassesRoot ([MS-RRP] 3.1.5.1)."""
    return (yield from _hive(view, CLASSES, access))


@CALLS.call(1)
def open_current_user(view: View, machine: Machine, access: U32) -> Asking[Handle]:
    """OpenCurrentUser ([MS-RRP] 3.1.5.2)."""
    return (yield from _hive(view, CURRENT_USER, access))


@CALLS.call(2)
def open_local_machine(view: View, machine: Machine, access: U32) -> Asking[Handle]:
    """OpenLocalMachine ([MS-RRP] 3.1.5.3)."""
    return (yield from _hive(view, ("HKLM",), access))


@CALLS.call(4)
def open_users(view: View, machine: Machine, access: U32) -> Asking[Handle]:
    """OpenUsers ([MS-RRP] 3.1.5.5)."""
    return (yield from _hive(view, ("HKU",), access))


@CALLS.call(5)
def close_key(view: View, handle: Handle) -> Handle:
    """BaseRegCloseKey ([MS-RRP] 3.1.5.6)."""
    return view.handles.close(handle)


@CALLS.call(6)
def create_key(
    view: View,
    handle: Handle,
    name: RegistryText,
    class_name: RegistryText,
    options: U32,
    access: U32,
    security: Annotated[SecurityAttributes | None, Unique(ndr.of(SecurityAttributes))],
    disposition: U32Pointer,
) -> Asking[tuple[Handle, U32Pointer]]:
    """BaseRegCreateKey: open a key, or make it with those above it ([MS-RRP] 3.1.5.7)."""
    if options & REG_OPTION_CREATE_LINK:
        raise Status(ERROR_NOT_SUPPORTED)
    path = find(view, handle).below(name.value)
    _check(path)
    descriptor = security.security.descriptor or b"" if security is not None else b""
    if len(descriptor) > MAX_DESCRIPTOR or len(class_name.value or "") > 256:
        raise Status(ERROR_INVALID_PARAMETER)
    message = CreateKey(
        view.caller.user,
        [*path],
        access,
        class_name.value or "",
        bool(options & REG_OPTION_VOLATILE),
        descriptor,
    )
    opened = yield from ask(message, KeyOpened)
    made = REG_CREATED_NEW_KEY if opened.created else REG_OPENED_EXISTING_KEY
    key = view.handles.add(Key(path, opened.granted))
    return key, None if disposition is None else made


@CALLS.call(7)
def delete_key(view: View, handle: Handle, name: RegistryText) -> Asking[None]:
    """BaseRegDeleteKey: one without subkeys ([MS-RRP] 3.1.5.8)."""
    path = find(view, handle).below(name.value)
    _check(path)
    if not name.value:
        raise Status(ERROR_INVALID_PARAMETER)
    yield from ask(DeleteKey(view.caller.user, [*path]), KeyOpened)


@CALLS.call(35)
def delete_key_ex(
    view: View, handle: Handle, name: RegistryText, access: U32, reserved: U32
) -> Asking[None]:
    """BaseRegDeleteKeyEx: there is one view of the registry, whatever it says.

    [MS-RRP] 3.1.5.31.
    """
    yield from delete_key(view, handle, name)


@CALLS.call(9)
def enumerate_key(
    view: View,
    handle: Handle,
    index: U32,
    name: RegistryText,
    class_name: TextPointer,
    written: TimePointer,
) -> Asking[tuple[RegistryText, TextPointer, TimePointer]]:
    """BaseRegEnumKey ([MS-RRP] 3.1.5.10)."""
    key = find(view, handle, KEY_ENUMERATE_SUB_KEYS)
    nothing = Text(None), None if class_name is None else Text(None), written
    message = FindSubkey(view.caller.user, [*key.path], index)
    found = yield from ask(message, SubkeyFound, *nothing)
    answer = Text(found.name, name.size)
    if answer.length > name.size:
        raise Status(ERROR_MORE_DATA, *nothing)
    return (
        answer,
        None if class_name is None else Text(found.class_name, class_name.size),
        None if written is None else file_time(found.written),
    )


@CALLS.call(11)
def flush_key(view: View, handle: Handle) -> None:
    """BaseRegFlushKey: each change is on disk when it is answered ([MS-RRP] 3.1.5.12)."""
    find(view, handle)


@CALLS.call(15)
def open_key(
    view: View, handle: Handle, name: RegistryText, options: U32, access: U32
) -> Asking[Handle]:
    """BaseRegOpenKey ([MS-RRP] 3.1.5.15)."""
    return (yield from _open(view, find(view, handle).below(name.value), access))


@CALLS.call(16)
def query_info_key(
    view: View, handle: Handle, class_name: RegistryText
) -> Asking[tuple[RegistryText, U32, U32, U32, U32, U32, U32, U32, Annotated[Time, ndr.of(Time)]]]:
    """BaseRegQueryInfoKey: lengths of names in bytes, with their NUL ([MS-RRP] 3.1.5.16)."""
    key = find(view, handle, KEY_QUERY_VALUE)
    found = yield from ask(DescribeKey(view.caller.user, [*key.path]), KeyDescription)
    return (
        Text(found.class_name, class_name.size),
        found.subkeys,
        2 * (found.longest_subkey + 1),
        2 * (found.longest_class + 1),
        found.values,
        2 * (found.longest_value_name + 1),
        found.longest_value,
        found.security_size,
        file_time(found.written),
    )


@CALLS.call(12)
def get_key_security(
    view: View, handle: Handle, wanted: U32, room: Annotated[Security, ndr.of(Security)]
) -> Asking[Annotated[SecurityOut, ndr.of(SecurityOut)]]:
    """BaseRegGetKeySecurity ([MS-RRP] 3.1.5.13)."""
    key = find(view, handle, READ_CONTROL)
    found = yield from ask(GetKeySecurity(view.caller.user, [*key.path]), KeySecurity)
    whole = parse(found.descriptor)
    told = pack(
        Descriptor(
            whole.owner if wanted & OWNER else None,
            whole.group if wanted & GROUP else None,
            whole.dacl if wanted & DACL else None,
        ),
        dacl=bool(wanted & DACL),
    )
    if len(told) > room.room:
        raise Status(ERROR_INSUFFICIENT_BUFFER, SecurityOut(None, len(told), 0))
    return SecurityOut((told, room.room), room.room, len(told))


@CALLS.call(21)
def set_key_security(
    view: View, handle: Handle, wanted: U32, security: Annotated[Security, ndr.of(Security)]
) -> Asking[None]:
    """BaseRegSetKeySecurity; nothing is logged, so there is no SACL ([MS-RRP] 3.1.5.21)."""
    needed = (WRITE_OWNER if wanted & (OWNER | GROUP) else 0) | (WRITE_DAC if wanted & DACL else 0)
    key = find(view, handle, needed)
    if wanted & SACL:
        raise Status(ERROR_PRIVILEGE_NOT_HELD)
    try:
        new = parse(security.descriptor or b"")
    except ValueError:
        raise Status(ERROR_INVALID_PARAMETER) from None
    if (wanted & OWNER and new.owner is None) or (wanted & GROUP and new.group is None):
        raise Status(ERROR_INVALID_PARAMETER)
    found = yield from ask(GetKeySecurity(view.caller.user, [*key.path]), KeySecurity)
    old = parse(found.descriptor)
    merged = Descriptor(
        new.owner if wanted & OWNER else old.owner,
        new.group if wanted & GROUP else old.group,
        new.dacl if wanted & DACL else old.dacl,
    )
    packed = pack(merged)
    if len(packed) > MAX_DESCRIPTOR:
        raise Status(ERROR_INVALID_PARAMETER)
    yield from ask(SetKeySecurity(view.caller.user, [*key.path], packed), KeySecurity)


@CALLS.call(26)
def get_version(view: View, handle: Handle) -> U32:
    """BaseRegGetVersion ([MS-RRP] 3.1.5.24)."""
    find(view, handle)
    return 5


@CALLS.call(3, 27, 32, 33)
def open_other_hive(view: View, machine: Machine, access: U32) -> Asking[Handle]:
    """OpenPerformanceData and the like, OpenCurrentConfig: there are none."""
    yield from need_administrator(view)
    raise Status(ERROR_NOT_SUPPORTED)


@CALLS.call(13, 14, 18, 19, 20, 23, 24, 25, 30, 31)
def not_done(view: View) -> Asking[None]:
    """Refuse hives in files, notifications, and to shut the machine down."""
    yield from need_administrator(view)
    raise Status(ERROR_NOT_SUPPORTED)
