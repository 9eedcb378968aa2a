"""Sessions in LMDB.

S + SessionId    SessionRecord
"""

import msgspec

from usmbd.protocol.state.store.lmdb_environment import LmdbEnvironment, with_prefix, writes
from usmbd.protocol.state.store.records import OPEN_ID, SessionRecord

_encode = msgspec.msgpack.Encoder().encode
_decode_session = msgspec.msgpack.Decoder(SessionRecord).decode


class LmdbSessions:
    """The sessions of all workers."""

    def __init__(self, environment: LmdbEnvironment) -> None:
        """Keep the S records of an environment."""
        self.environment = environment

    @writes
    def put_session(self, record: SessionRecord) -> None:
        """Add or replace a session."""
        self.environment.require_room()
        with self.environment.write() as txn:
            txn.put(b"S" + OPEN_ID.pack(record.session_id), _encode(record))

    def get_session(self, session_id: int) -> SessionRecord | None:
        """Return a session of any worker."""
        with self.environment.begin() as txn:
            value = txn.get(b"S" + OPEN_ID.pack(session_id))
        return None if value is None else _decode_session(value)

    @writes
    def session_ends(self, session_id: int) -> None:
        """Note that a session's opens are being closed: see `Store.session_ends`."""
        key = b"S" + OPEN_ID.pack(session_id)
        with self.environment.write() as txn:
            value = txn.get(key)
            if value is not None:
                txn.put(key, _encode(msgspec.structs.replace(_decode_session(value), ends=True)))

    @writes
    def remove_session(self, session_id: int) -> None:
        """Remove a session."""
        with self.environment.write() as txn:
            txn.delete(b"S" + OPEN_ID.pack(session_id))

    def sessions(self) -> list[SessionRecord]:
        """Return all sessions."""
        with self.environment.begin() as txn:
            return [_decode_session(value) for _, value in with_prefix(txn, b"S")]

    @writes
    def drop_worker(self, worker: int) -> None:
        """Forget a dead worker's sessions."""
        with self.environment.write() as txn:
            for key, value in list(with_prefix(txn, b"S")):
                if _decode_session(value).worker == worker:
                    txn.delete(key)
