"""What the fork server imports once, so that no child has to."""

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
