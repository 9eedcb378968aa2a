"""Persistent opens at the start: those of the server that ran before are brought back."""

import logging
import os
from pathlib import Path

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.store.lmdb_persistent import PersistentPlaces
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import DurableRecord, file_key
from usmbd.protocol.wire.status import SmbError

log = logging.getLogger("usmbd.conn")


def places_of(config: ServerConfig) -> PersistentPlaces:
    """Return where persistent opens are kept."""
    return PersistentPlaces.below(Path(config.state_directory), Path(config.data_directory))


def bring_back(store: LmdbStore, config: ServerConfig) -> None:
    """Enter persistent opens into the new store; forget them where no share has such any more."""
    if not config.persistent_handles:
        places_of(config).clear()
        return
    try:
        restored = store.restore(config.workers, find_again)
    except (OSError, SmbError) as error:
        log.error("persistent opens cannot be brought back: %s", error)
        return
    if restored:
        log.warning("%d persistent opens wait for their clients", restored)


def find_again(durable: DurableRecord) -> bytes | None:
    """Return the FileKey of what has a persistent open's name, links not followed; None: nothing.

    Asked after a boot alone, which may have numbered the disks anew: so a share that hangs does
    not hold up a server that is started again. Whether it is the very file its client is told when
    it comes back.
    """
    path = os.path.join(os.fsencode(durable.share_path), durable.path)
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return file_key(found.st_dev, found.st_ino)
