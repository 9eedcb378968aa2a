"""What the fork server imports once, so that no child has to."""

import subprocess
import sys
from pathlib import Path

import pytest

from usmbd.protocol.supervisor import fork_server
from usmbd.transport.smbdirect import sysfs, verbs
from usmbd.transport.smbdirect.provider import DeviceError


@pytest.mark.parametrize("devices", [(), ("rxe0",)], ids=len)
def test_what_drives_rdma_devices_is_imported_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...]
) -> None:
    for name in devices:
        (tmp_path / name).mkdir()
    loaded = []

    def load() -> None:
        loaded.append(True)
        raise DeviceError("pyverbs does not fit this machine's libraries")

    monkeypatch.setattr(sysfs, "ROOT", tmp_path)
    monkeypatch.setattr(verbs, "load", load)
    fork_server.import_verbs()
    assert len(loaded) == len(devices)


def test_what_a_child_does_first_imports_and_compiles_nothing_more(tmp_path: Path) -> None:
    """Each would write to pages that it has in common with the others."""
    (tmp_path / "usmbd.conf").write_text("[global]\n")
    program = f"""
import sys
from pathlib import Path
from usmbd.protocol.supervisor import fork_server
from usmbd.mountd.cli import mountd
from usmbd.mountd.ipc import codec
from usmbd.protocol.state.store.lmdb_store import LmdbStore

fork_server.import_all()
there = set(sys.modules)
codec.Codec = fork_server.importlib = None
place = Path({str(tmp_path)!r})
LmdbStore.create(place / "store")
LmdbStore.attach(place / "store", 0).close()
mountd.load(place / "usmbd.conf")
codec.mountd_client(), codec.rpc_server(), codec.control_server()
print(*set(sys.modules) - there)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr
