#!/usr/bin/python3
"""A user of Samba's own Python client: run by Debian's interpreter, which alone has the module.

samba_client.py HOST SHARE FOLDER USER PASSWORD CONFIGURATION DIALECT off|sign|encrypt
It makes and removes its files in FOLDER; an exception ends it with status 1.
"""

import sys
from pathlib import Path
from typing import Any

from samba import NTSTATUSError, credentials
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param

FILES = 100
OPEN, CREATE = 1, 2
READ, WRITE, DELETE = 0x120089, 0x120116, 0x10000
SHARE_NONE, SHARE_ALL = 0, 7
SHARING_VIOLATION = 0xC0000043
NAME_NOT_FOUND = 0xC0000034
PROTECTIONS = {
    "off": (credentials.SMB_SIGNING_OFF, credentials.SMB_ENCRYPTION_OFF),
    "sign": (credentials.SMB_SIGNING_REQUIRED, credentials.SMB_ENCRYPTION_OFF),
    "encrypt": (credentials.SMB_SIGNING_REQUIRED, credentials.SMB_ENCRYPTION_REQUIRED),
}


def connect(
    host: str, share: str, user: str, password: str, configuration: str, protection: str
) -> Any:
    """Log in and connect to the share."""
    settings = param.get_context()
    settings.load(configuration)
    mine = credentials.Credentials()
    mine.guess(settings)
    mine.set_username(user)
    mine.set_password(password)
    mine.set_kerberos_state(credentials.DONT_USE_KERBEROS)
    signing, encryption = PROTECTIONS[protection]
    mine.set_smb_signing(signing)
    mine.set_smb_encryption(encryption)
    return libsmb.Conn(host, share, settings, mine)


def expect(status: int, call: Any, *arguments: Any, **options: Any) -> None:
    """Check that the call fails with the status."""
    try:
        call(*arguments, **options)
    except NTSTATUSError as error:
        if error.args[0] & 0xFFFFFFFF != status:
            raise
    else:
        raise AssertionError(f"{call} succeeded")


def work(one: Any, two: Any, folder: str) -> None:
    """Do what a client does, and what two clients do to each other."""
    data = bytes(range(256)) * 1027 + b"odd"
    one.mkdir(f"{folder}\\sub")
    assert one.chkpath(f"{folder}\\sub")
    one.savefile(f"{folder}\\sub\\Ünicode 日本.bin", data)
    assert one.loadfile(f"{folder}\\SUB\\ünicode 日本.BIN") == data
    names = {entry["name"]: entry for entry in one.list(f"{folder}\\sub")}
    assert names["Ünicode 日本.bin"]["size"] == len(data), names
    one.rename(f"{folder}\\sub\\Ünicode 日本.bin", f"{folder}\\plain")
    assert one.loadfile(f"{folder}\\plain") == data

    mine = one.create(
        f"{folder}\\plain", DesiredAccess=READ | WRITE | DELETE, ShareAccess=SHARE_NONE
    )
    expect(
        SHARING_VIOLATION,
        two.create,
        f"{folder}\\plain",
        DesiredAccess=READ,
        ShareAccess=SHARE_ALL,
        CreateDisposition=OPEN,
    )
    one.write(mine, b"12345", len(data))
    assert one.read(mine, len(data) - 3, 100) == b"odd12345"
    one.delete_on_close(mine, True)
    one.close(mine)
    expect(NAME_NOT_FOUND, one.loadfile, f"{folder}\\plain")

    for index in range(FILES):
        handle = one.create(
            f"{folder}\\sub\\file {index}",
            DesiredAccess=WRITE,
            ShareAccess=SHARE_ALL,
            CreateDisposition=CREATE,
        )
        one.write(handle, b"x" * index, 0)
        one.close(handle)
    found = {entry["name"]: entry["size"] for entry in two.list(f"{folder}\\sub")}
    found = {name: size for name, size in found.items() if name not in (".", "..")}
    assert found == {f"file {index}": index for index in range(FILES)}
    one.deltree(f"{folder}\\sub")
    assert [entry["name"] for entry in two.list(folder) if entry["name"][0] != "."] == []


def main() -> None:
    """Connect twice and work."""
    host, share, folder, user, password, configuration, dialect, protection = sys.argv[1:]
    text = Path(configuration).read_text()
    own = f"{configuration}.{dialect}"
    Path(own).write_text(
        f"{text}\tclient min protocol = {dialect}\n\tclient max protocol = {dialect}\n"
    )
    one, two = (connect(host, share, user, password, own, protection) for _ in range(2))
    work(one, two, folder)
    print("worked")


main()
