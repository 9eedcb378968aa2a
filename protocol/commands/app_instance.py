"""The application that opens a file again on another machine ([MS-SMB2] 3.3.5.9.13).

A virtual machine or a database that fails over to another node says by its AppInstanceId that it is
the one that has the file open on the first: those opens are closed, whatever they share and cache.
Whoever asks has been granted the access that he wants; the id is what the other node told him.
"""

from collections.abc import Callable
from dataclasses import dataclass

from usmbd.protocol.commands.request import Request
from usmbd.protocol.effects import Resume
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.records import (
    NO_ID,
    OPEN_DISCONNECTED,
    OPEN_INSTANCE_VERSION,
    OpenRecord,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_APP_INSTANCE_ID,
    SMB2_CREATE_APP_INSTANCE_VERSION,
    Contexts,
    parse_app_instance_id,
    parse_app_instance_version,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300, SMB2_DIALECT_311
from usmbd.protocol.wire.status import NtStatus, SmbError


@dataclass(frozen=True, slots=True)
class AppInstance:
    """An application's id and, with 3.1.1, the version of its failover: high and low."""

    app_instance_id: bytes
    version: tuple[int, int] | None = None

    def put(self, record: OpenRecord) -> None:
        """Write it into an open's record."""
        record.app_instance_id = self.app_instance_id
        if self.version is not None:
            record.flags |= OPEN_INSTANCE_VERSION
            record.app_instance_version_high, record.app_instance_version_low = self.version


def parse_app_instance(request: Request, contexts: Contexts) -> AppInstance | None:
    """Return the application that opens a file; SmbError(INVALID_PARAMETER)."""
    dialect = request.connection.dialect
    data = contexts.get(SMB2_CREATE_APP_INSTANCE_ID)
    if data is None or dialect < SMB2_DIALECT_300:
        return None
    instance = parse_app_instance_id(data)
    if instance == NO_ID:
        return None
    version = contexts.get(SMB2_CREATE_APP_INSTANCE_VERSION)
    if version is None or dialect < SMB2_DIALECT_311:
        return AppInstance(instance)
    return AppInstance(instance, parse_app_instance_version(version))


class InstancesError(Exception):
    """An open has to wait until those of the same application on other clients are closed."""

    def __init__(self, key: bytes, opens: list[OpenRecord]) -> None:
        """Keep the opens of the file `key`."""
        super().__init__(f"{len(opens)} opens of the same application")
        self.key = key
        self.opens = opens


def check_instances(request: Request, instance: AppInstance, key: bytes) -> None:
    """InstancesError if the application has the file open from another client.

    SmbError(FILE_FORCED_CLOSED) if that is as new a version of it, or a newer one.
    """
    guid = request.connection.client_guid
    opens = [
        record
        for record in request.connection.server.store.opens(key)
        if record.app_instance_id == instance.app_instance_id and record.client_guid != guid
    ]
    for record in opens:
        version = record.app_instance_version_high, record.app_instance_version_low
        if (
            instance.version is not None
            and record.flags & OPEN_INSTANCE_VERSION
            and version >= instance.version
        ):
            raise SmbError(NtStatus.FILE_FORCED_CLOSED)
    if opens:
        raise InstancesError(key, opens)


def wait_for_instances(
    server: Server, needed: InstancesError, resume: Resume[None]
) -> Callable[[], None]:
    """Have those opens closed and wait until they are."""
    key = needed.key
    server.store.add_waiter(key)
    give_up = server.wait_for(key, resume)
    ids = {record.open_id for record in needed.opens}
    left = [record for record in needed.opens if record.flags & OPEN_DISCONNECTED]
    for record in needed.opens:
        if not record.flags & OPEN_DISCONNECTED:
            server.close_open_of(key, record)
    server.durable.end(key, left)
    there = any(record.open_id in ids for record in server.store.opens(key))
    if not there and not server.store.is_being_deleted(key):
        give_up()
        resume()
    return give_up
