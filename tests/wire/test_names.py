"""Names that lie: in disguise, spelled as no client spells them, there and gone."""

import os
import threading

import pytest
from smbtest import smb2
from smbtest.raw import Raw
from smbtest.smb2 import create_body

from .conftest import Target

GONE = {smb2.SUCCESS, smb2.OBJECT_NAME_NOT_FOUND}
ROUNDS = 300


@pytest.mark.parametrize(
    "name",
    [
        *("\uf029", ".\uf029", "\uf029\\\uf029", ".\uf029\\.\uf029\\etc", "\uefc3\uefa9"),
        *("\uf07f", "\uf07f\uf07f", "\uf043ON\uf029", "a\uf07f\uf022b", "\uefae\uefae"),
    ],
)
def test_stand_ins_lead_nowhere_else(client: Raw, target: Target, name: str) -> None:
    """What is made by such a name lies in the share, and is found by the name."""
    before = set(target.data.rglob("*"))
    parts = name.split("\\")
    for index in range(len(parts)):
        options = smb2.DIRECTORY_FILE if index < len(parts) - 1 else 0
        path = "\\".join(parts[: index + 1])
        answer = client.call(smb2.CREATE, create_body(path, disposition=smb2.MAKE, options=options))
        assert answer.status == smb2.SUCCESS
        client.call(smb2.CLOSE, smb2.close_body(answer.file_id))
    made = set(target.data.rglob("*")) - before
    assert len(made) == len(parts)
    for index in reversed(range(len(parts))):
        path = "\\".join(parts[: index + 1])
        answer = client.call(
            smb2.CREATE,
            create_body(path, 0x10000, disposition=smb2.OPEN, options=smb2.DELETE_ON_CLOSE),
        )
        assert answer.status == smb2.SUCCESS
        client.call(smb2.CLOSE, smb2.close_body(answer.file_id))
    assert set(target.data.rglob("*")) == before


@pytest.mark.parametrize("name", ["race", "RACE", "Race\\file", "RACE\\file", "rACE\\FILE"])
@pytest.mark.parametrize("access", [smb2.READ_WRITE, 0x10080])
def test_a_name_that_comes_and_goes(client: Raw, target: Target, name: str, access: int) -> None:
    """Beside who makes and removes it the file is there or not, and nothing else."""
    inside = "\\" in name
    directory = target.data / "Race" if inside else target.data
    if inside:
        directory.mkdir()
        directory.chmod(0o777)
    file = directory / ("file" if inside else "race")
    ready = target.data / "ready"
    ready.touch()
    ready.chmod(0o666)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            os.link(ready, file)
            file.unlink()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        seen = set()
        for _ in range(ROUNDS):
            answer = client.call(smb2.CREATE, create_body(name, access, disposition=smb2.OPEN))
            seen.add(answer.status)
            if answer.status == smb2.SUCCESS:
                client.call(smb2.CLOSE, smb2.close_body(answer.file_id))
    finally:
        stop.set()
        thread.join()
        ready.unlink()
        if inside:
            directory.rmdir()
    assert seen <= GONE, [hex(status) for status in seen]
