"""The answers to what is asked of the registry (`ipc.registry`), with the rights of its keys."""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from usmbd.mountd.admin import descriptors, registered
from usmbd.mountd.admin.computed import Computed
from usmbd.mountd.admin.descriptors import Ace, Descriptor
from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registry_store import Key, RegistryStore, Value
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.registry import (
    MAX_DEPTH,
    CreateKey,
    DeleteKey,
    DeleteValue,
    DescribeKey,
    FindSubkey,
    FindValue,
    GetKeySecurity,
    KeyDescription,
    KeyOpened,
    KeySecurity,
    OpenKey,
    RegistryRequest,
    RegistryResponse,
    SetKeySecurity,
    SetValue,
    SubkeyFound,
    ValueFound,
)

log = logging.getLogger("usmbd.auth")

HIVES = ("HKLM", "HKU")

FOLDERS = (("HKLM", "SOFTWARE", "Classes"), ("HKU", ".DEFAULT"))
"""What goes by the names of the hives HKCR and HKCU."""

KEY_CREATE_SUB_KEY = 0x04
KEY_READ, KEY_WRITE, KEY_ALL = 0x00020019, 0x00020006, 0x000F003F
WOW64 = 0x0300
"""[MS-RRP] 2.2.3: which of two views a key is opened in; here there is one."""

MAXIMUM_ALLOWED, ACCESS_SYSTEM_SECURITY = 0x02000000, 0x01000000
GENERIC = ((0x10000000, KEY_ALL), (0x20000000, KEY_READ), (0x40000000, KEY_WRITE),
           (0x80000000, KEY_READ))  # fmt: skip

DEFAULT = Descriptor(
    descriptors.ADMINISTRATORS,
    descriptors.SYSTEM,
    tuple(
        Ace(descriptors.ACCESS_ALLOWED, descriptors.CONTAINER_INHERIT, mask, sid)
        for sid, mask in (
            (descriptors.ADMINISTRATORS, KEY_ALL),
            (descriptors.SYSTEM, KEY_ALL),
            (descriptors.USERS, KEY_READ),
        )
    ),
)
"""The descriptor of keys that have none of their own, as Windows has it for HKLM. By RPC nobody but
administrators comes to the registry, whatever a key says: paths of shares are in it."""


class Host(Protocol):
    """What the registry needs of mountd."""

    def sids(self, user: str) -> set[str]:
        """Return whom a user of the password file is, for descriptors."""

    def reconfigure(self, share: str | None, *, wanted: bool = True) -> int:
        """Have what the registry says of a share take effect; return the configuration's number.

        None: of the server. RefusedError(INVALID) when a share that is `wanted` would be left out.
        """


class Registry:
    """Answers what administrators ask of the registry."""

    def __init__(self, store: RegistryStore, host: Host, computed: Computed) -> None:
        """Use a store; `computed` has the keys that nobody stores."""
        self._store = store
        self._host = host
        self._computed = computed
        with store.changing():
            for path in FOLDERS:
                store.make(path)
        self._handlers: dict[type, Callable[..., RegistryResponse | Outcome]] = {
            OpenKey: self._open,
            CreateKey: self._create,
            DeleteKey: self._delete,
            DescribeKey: self._describe,
            FindSubkey: self._find_subkey,
            FindValue: self._find_value,
            SetValue: self._set_value,
            DeleteValue: self._delete_value,
            GetKeySecurity: self._get_security,
            SetKeySecurity: self._set_security,
        }

    def answer(self, message: RegistryRequest) -> RegistryResponse | Outcome:
        """Answer one question of an administrator; RefusedError when it is refused."""
        return self._handlers[type(message)](message)

    # -- rights ----------------------------------------------------------------------------

    def _descriptor(self, key: Key) -> Descriptor:
        return descriptors.parse(key.security) if key.security else DEFAULT

    def _granted(self, key: Key, user: str, access: int) -> int:
        """Return all rights that a user has; RefusedError when an access that he asks for is not.

        A handle may do all that its key lets him do, as with Samba: `net rpc conf` opens keys for
        reading, and writes.
        """
        descriptor = self._descriptor(key)
        if descriptor.dacl is not None:
            aces = (Ace(ace.kind, ace.flags, _plain(ace.mask), ace.sid) for ace in descriptor.dacl)
            descriptor = Descriptor(descriptor.owner, descriptor.group, tuple(aces))
        mine = descriptor.granted(self._host.sids(user)) & KEY_ALL
        # Administrators may take ownership, and see and set what is logged.
        mine |= descriptors.WRITE_OWNER | ACCESS_SYSTEM_SECURITY
        if _plain(access) & ~WOW64 & 0x01FFFFFF & ~mine:
            raise RefusedError(Result.DENIED)
        return mine

    # -- keys ------------------------------------------------------------------------------

    def _open(self, message: OpenKey) -> KeyOpened:
        return KeyOpened(self._granted(self._store.get(message.path), message.by, message.access))

    def _create(self, message: CreateKey) -> KeyOpened:
        path = message.path
        found = self._store.find(path)
        if found is not None:
            return KeyOpened(self._granted(found, message.by, message.access))
        if len(path) >= MAX_DEPTH:
            raise RefusedError(Result.INVALID)
        registered.check(path)
        with self._store.changing():
            at = 1
            while (above := self._store.find(path[: at + 1])) is not None:
                at += 1
            above = self._store.get(path[:at])
            self._granted(above, message.by, KEY_CREATE_SUB_KEY)
            if above.volatile and not message.volatile:
                raise RefusedError(Result.VOLATILE)
            for name in path[at:]:
                security = self._inherited(above)
                above = self._store.add(
                    above, name, message.class_name, security, volatile=message.volatile
                )
            if message.security:
                self._store.set_security(above, _checked(message.security))
        # Who makes a key has what he asked for, as in Windows.
        granted = self._granted(self._store.get(path), message.by, MAXIMUM_ALLOWED)
        return KeyOpened(granted | _plain(message.access) & KEY_ALL, True)

    def _inherited(self, above: Key) -> bytes:
        """Return the descriptor of a new key; none where it has the default, as those above it."""
        if not above.security:
            return b""
        made = descriptors.inherited(self._descriptor(above), descriptors.ADMINISTRATORS)
        return descriptors.pack(made)

    def _delete(self, message: DeleteKey) -> Outcome:
        key = self._store.get(message.path)
        if len(message.path) == 1 or self._computed.needs(message.path):
            raise RefusedError(Result.DENIED)
        if self._store.totals(key).subkeys:
            raise RefusedError(Result.NOT_EMPTY)
        with self._store.changing():
            self._store.remove(key)
            return self._changed(message.by, message.path, removed=True)

    def _describe(self, message: DescribeKey) -> KeyDescription:
        key = self._store.get(message.path)
        totals = self._store.totals(key)
        values = self._computed.values(message.path)
        if values is not None:
            totals = totals._replace(
                values=len(values),
                longest_value_name=max((len(each.name) for each in values), default=0),
                longest_value=max((len(each.data) for each in values), default=0),
            )
        return KeyDescription(
            key.class_name,
            *totals,
            len(descriptors.pack(DEFAULT)) if not key.security else len(key.security),
            key.written,
        )

    def _find_subkey(self, message: FindSubkey) -> SubkeyFound:
        found = self._store.subkeys(self._store.get(message.path), message.index, 1)
        if not found:
            raise RefusedError(Result.END)
        return SubkeyFound(found[0].name, found[0].class_name, found[0].written)

    def _get_security(self, message: GetKeySecurity) -> KeySecurity:
        key = self._store.get(message.path)
        return KeySecurity(key.security or descriptors.pack(DEFAULT))

    def _set_security(self, message: SetKeySecurity) -> Outcome:
        key = self._store.get(message.path)
        self._store.set_security(key, _checked(message.descriptor))
        return Outcome(Result.DONE)

    # -- values ----------------------------------------------------------------------------

    def _find_value(self, message: FindValue) -> ValueFound:
        key = self._store.get(message.path)
        computed = self._computed.values(message.path)
        found: Value | None
        if message.name is None:
            values = (
                self._store.values(key, message.index, 1)
                if computed is None
                else computed[message.index : message.index + 1]
            )
            if not values:
                raise RefusedError(Result.END)
            found = values[0]
        elif computed is None:
            found = self._store.value(key, message.name)
        else:
            folded = message.name.casefold()
            found = next((each for each in computed if each.name.casefold() == folded), None)
        if found is None:
            raise RefusedError(Result.NOT_FOUND)
        return ValueFound(*found)

    def _set_value(self, message: SetValue) -> Outcome:
        key = self._store.get(message.path)
        value = Value(message.name, message.kind, message.data)
        if self._computed.values(message.path) is not None:
            raise RefusedError(Result.DENIED)
        registered.check(message.path, value)
        if registered.is_security(message.path):
            _checked(message.data)
        with self._store.changing():
            self._store.set(key, value)
            return self._changed(message.by, message.path)

    def _delete_value(self, message: DeleteValue) -> Outcome:
        key = self._store.get(message.path)
        if self._computed.values(message.path) is not None:
            raise RefusedError(Result.DENIED)
        with self._store.changing():
            if not self._store.unset(key, message.name):
                raise RefusedError(Result.NOT_FOUND)
            return self._changed(message.by, message.path)

    def _changed(self, user: str, path: Sequence[str], *, removed: bool = False) -> Outcome:
        """Have a change take effect where the configuration is made of it."""
        share = registered.share_of(path)
        if share is None and not registered.is_settings(path):
            return Outcome(Result.DONE)
        log.info("an administrator changed %s", "\\".join(path), extra={"user": user})
        return Outcome(Result.DONE, self._host.reconfigure(share, wanted=not removed))


def _plain(mask: int) -> int:
    """Return a mask with what its generic rights mean."""
    for bit, meaning in GENERIC:
        if mask & bit:
            mask = mask & ~bit | meaning
    return mask


def _checked(descriptor: bytes) -> bytes:
    """Return a descriptor; RefusedError(INVALID) when it is none."""
    try:
        descriptors.parse(descriptor)
    except ValueError as error:
        raise RefusedError(Result.INVALID, str(error)) from error
    return descriptor
