"""smbclient: what a user does by hand, checked on the server's disk."""

import os
import pwd
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from smbtest.samba_tools import DIALECTS, PROTECTIONS, smbclient, smbclient_command
from smbtest.samples import MIB, NAMES, ODD_SIZES, content, fill
from smbtest.server import BOB, NETBIOS_NAME, Options, Server

SMB3 = DIALECTS[2:]


def test_make_put_get_list_rename_delete(server: Server, folder: Path, tmp_path: Path) -> None:
    data = content(100_001)
    (tmp_path / "local").write_bytes(data)
    cd = f"cd {folder.name}"

    smbclient(server, [cd, "mkdir sub", f"put {tmp_path}/local sub/first.bin"])
    assert (folder / "sub/first.bin").read_bytes() == data

    said = smbclient(server, [cd, "ls sub/*"])
    assert "first.bin" in said
    assert " 100001 " in said

    smbclient(
        server, [cd, "rename sub/first.bin sub/second.bin", "rename sub/second.bin third.bin"]
    )
    assert not list((folder / "sub").iterdir())
    assert (folder / "third.bin").read_bytes() == data

    smbclient(server, [cd, f"get third.bin {tmp_path}/back"])
    assert (tmp_path / "back").read_bytes() == data

    smbclient(server, [cd, "del third.bin", "rmdir sub"])
    assert not list(folder.iterdir())


def test_a_missing_file_has_no_other_excuse(server: Server, folder: Path) -> None:
    cd = f"cd {folder.name}"
    name_missing = "NT_STATUS_OBJECT_NAME_NOT_FOUND"
    path_missing = "NT_STATUS_OBJECT_PATH_NOT_FOUND"
    assert name_missing in smbclient(server, [cd, "get none /dev/null"], ok=False)
    assert path_missing in smbclient(server, [cd, "get none/below /dev/null"], ok=False)
    assert name_missing in smbclient(server, [cd, "rmdir none"], ok=False)
    assert "NT_STATUS_NO_SUCH_FILE" in smbclient(server, [cd, "ls none"], ok=False)


def test_a_directory_with_files_is_not_removed(server: Server, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/file").touch()
    os.chmod(folder / "sub", 0o777)
    said = smbclient(server, [f"cd {folder.name}", "rmdir sub"], ok=False)
    assert "NT_STATUS_DIRECTORY_NOT_EMPTY" in said
    said = smbclient(server, [f"cd {folder.name}", "mkdir sub"], ok=False)
    assert "NT_STATUS_OBJECT_NAME_COLLISION" in said
    assert (folder / "sub/file").exists()


def test_all_information_of_a_file(server: Server, folder: Path) -> None:
    (folder / "file.txt").write_bytes(b"x" * 1234)
    (folder / "file.txt").chmod(0o666)
    os.utime(folder / "file.txt", (1_000_000_000, 1_600_000_000))
    said = smbclient(server, [f"cd {folder.name}", "allinfo file.txt"])
    assert "write_time:     Sun Sep 13 12:26:40 2020" in said.replace("PM ", "")
    assert "stream: [::$DATA], 1234 bytes" in said


def test_attributes_are_kept(server: Server, folder: Path) -> None:
    (folder / "file").write_bytes(b"x")
    (folder / "file").chmod(0o666)
    smbclient(server, [f"cd {folder.name}", "setmode file +hs"])
    said = smbclient(server, [f"cd {folder.name}", "allinfo file"])
    attributes = next(line for line in said.splitlines() if line.startswith("attributes:"))
    assert "H" in attributes
    assert "S" in attributes
    assert "user.DOSATTRIB" in os.listxattr(folder / "file")
    smbclient(server, [f"cd {folder.name}", "setmode file -hs"])
    assert "HS" not in smbclient(server, [f"cd {folder.name}", "allinfo file"])


def test_whole_trees(server: Server, folder: Path, tmp_path: Path) -> None:
    tree = {
        f"{a}/{b}/file {c}.bin": content(1000 * c + 7, seed=c + 1)
        for a in ("one", "two")
        for b in ("sub", "Über")
        for c in range(3)
    }
    for name, data in tree.items():
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "in").mkdir()
    recursive = ["recurse on", "prompt off"]

    smbclient(server, [f"cd {folder.name}", f"lcd {tmp_path}/out", *recursive, "mput *"])
    stored = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert stored == tree

    smbclient(server, [f"cd {folder.name}", f"lcd {tmp_path}/in", *recursive, "mget *"])
    here = tmp_path / "in"
    back = {str(p.relative_to(here)): p.read_bytes() for p in here.rglob("*") if p.is_file()}
    assert back == tree

    said = smbclient(server, [f"cd {folder.name}", "recurse on", "ls"])
    assert said.count("file 2.bin") == 4

    smbclient(server, [f"cd {folder.name}", "deltree one", "deltree two"])
    assert not list(folder.iterdir())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_size_comes_back(server: Server, folder: Path, tmp_path: Path, dialect: str) -> None:
    commands = [f"cd {folder.name}"]
    for size in ODD_SIZES:
        fill(tmp_path / f"{size}", size, seed=size + 1)
        commands += [f"put {tmp_path}/{size} f{size}", f"get f{size} {tmp_path}/back{size}"]
    smbclient(server, commands, dialect=dialect)
    for size in ODD_SIZES:
        sent = (tmp_path / f"{size}").read_bytes()
        assert (folder / f"f{size}").read_bytes() == sent, size
        assert (tmp_path / f"back{size}").read_bytes() == sent, size


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_protection(
    server: Server, folder: Path, tmp_path: Path, dialect: str, protection: str
) -> None:
    if protection == "encrypt" and dialect not in SMB3:
        pytest.skip("SMB 2 has no encryption")
    fill(tmp_path / "local", 3 * MIB + 1)
    commands = [
        f"cd {folder.name}",
        f"put {tmp_path}/local file",
        f"get file {tmp_path}/back",
        "ls",
    ]
    smbclient(server, commands, dialect=dialect, protection=protection)
    assert (folder / "file").read_bytes() == (tmp_path / "local").read_bytes()
    assert (tmp_path / "back").read_bytes() == (tmp_path / "local").read_bytes()


@pytest.mark.parametrize("cipher", ["aes-128-ccm", "aes-128-gcm", "aes-256-ccm", "aes-256-gcm"])
def test_every_cipher(server: Server, folder: Path, tmp_path: Path, cipher: str) -> None:
    fill(tmp_path / "local", MIB + 1)
    smbclient(
        server,
        [f"cd {folder.name}", f"put {tmp_path}/local file", f"get file {tmp_path}/back"],
        dialect="SMB3_11",
        protection="encrypt",
        options=[f"client smb3 encryption algorithms={cipher}"],
    )
    assert (tmp_path / "back").read_bytes() == (tmp_path / "local").read_bytes()


@pytest.mark.parametrize("algorithm", ["hmac-sha256", "aes-128-cmac", "aes-128-gmac"])
def test_every_signing_algorithm(
    server: Server, folder: Path, tmp_path: Path, algorithm: str
) -> None:
    fill(tmp_path / "local", MIB + 1)
    smbclient(
        server,
        [f"cd {folder.name}", f"put {tmp_path}/local file", f"get file {tmp_path}/back"],
        dialect="SMB3_11",
        protection="sign",
        options=[f"client smb3 signing algorithms={algorithm}"],
    )
    assert (tmp_path / "back").read_bytes() == (tmp_path / "local").read_bytes()


def test_a_share_that_requires_encryption(server: Server) -> None:
    smbclient(server, ["ls"], share="encrypted", dialect="SMB3_00")
    smbclient(server, ["ls"], share="encrypted", dialect="SMB3_11", protection="sign")
    said = smbclient(server, ["ls"], share="encrypted", dialect="SMB2_10", ok=False)
    assert "NT_STATUS_ACCESS_DENIED" in said


@pytest.mark.parametrize(
    ("parameter", "refused", "accepted"),
    [
        ({"server signing": "mandatory"}, None, ("SMB2_02", "sign")),
        ({"server smb encrypt": "required"}, ("SMB2_10", "sign"), ("SMB3_00", "encrypt")),
        ({"server min protocol": "SMB3_00"}, ("SMB2_10", None), ("SMB3_00", None)),
        ({"server max protocol": "SMB2_10"}, ("SMB3_00", None), ("SMB2_10", None)),
    ],
    ids=["signing", "encryption", "min-protocol", "max-protocol"],
)
def test_a_server_that_requires(
    start_server: Callable[[Options], Server],
    parameter: dict[str, str],
    refused: tuple[str, str | None] | None,
    accepted: tuple[str, str | None],
) -> None:
    server = start_server(Options(parameters=parameter))
    smbclient(server, ["ls"], dialect=accepted[0], protection=accepted[1])
    if refused:
        smbclient(server, ["ls"], dialect=refused[0], protection=refused[1], ok=False)


def test_names_in_every_script(server: Server, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "back").mkdir()
    commands = [f"cd {folder.name}"]
    for index, name in enumerate(NAMES):
        (tmp_path / f"{index}").write_bytes(name.encode())
        commands += [
            f'put "{tmp_path}/{index}" "{name}"',
            f'get "{name}" "{tmp_path}/back/{index}"',
        ]
    smbclient(server, commands)
    assert {p.name: p.read_bytes().decode() for p in folder.iterdir()} == dict(
        zip(NAMES, NAMES, strict=True)
    )
    for index, name in enumerate(NAMES):
        assert (tmp_path / f"back/{index}").read_bytes().decode() == name
    said = smbclient(server, [f"cd {folder.name}", "ls"])
    assert [name for name in NAMES if name not in said] == []


def test_case_does_not_matter_but_is_kept(server: Server, folder: Path, tmp_path: Path) -> None:
    (folder / "Mixed Case Ärger").mkdir(mode=0o777)
    (folder / "Mixed Case Ärger").chmod(0o777)
    (folder / "Mixed Case Ärger" / "ReadMe.TXT").write_bytes(b"first")
    (folder / "Mixed Case Ärger" / "ReadMe.TXT").chmod(0o666)
    (tmp_path / "new").write_bytes(b"second")
    smbclient(
        server,
        [
            f"cd {folder.name.upper()}",
            f'get "MIXED CASE ÄRGER/README.txt" {tmp_path}/back',
            f'put {tmp_path}/new "mixed case ärger/readme.txt"',
            'rename "mixed CASE ärger/README.TXT" "mixed CASE ärger/Readme.txt"',
        ],
    )
    assert (tmp_path / "back").read_bytes() == b"first"
    files = {p.name: p.read_bytes() for p in (folder / "Mixed Case Ärger").iterdir()}
    assert files == {"Readme.txt": b"second"}
    said = smbclient(server, [f"cd {folder.name}", 'mkdir "MIXED case ÄRGER"'], ok=False)
    assert "NT_STATUS_OBJECT_NAME_COLLISION" in said


def test_wildcards(server: Server, folder: Path) -> None:
    for name in ("a.txt", "b.txt", "bb.txt", "c.dat", "noext"):
        (folder / name).touch()

    def listed(pattern: str) -> list[str]:
        said = smbclient(server, [f"cd {folder.name}", f"ls {pattern}"])
        return sorted(
            line.split()[0] for line in said.splitlines() if " N " in line or " A " in line
        )

    assert listed("*.txt") == ["a.txt", "b.txt", "bb.txt"]
    assert listed("?.txt") == ["a.txt", "b.txt"]
    assert listed("B*") == ["b.txt", "bb.txt"]
    assert listed("*") == ["a.txt", "b.txt", "bb.txt", "c.dat", "noext"]


def test_a_directory_of_many_entries(server: Server, folder: Path) -> None:
    names = {f"a file with a rather long name, number {i:05}" for i in range(2000)}
    for name in names:
        (folder / name).touch()
    for dialect in ("SMB2_02", "SMB3_11"):  # in six answers, and in one
        said = smbclient(server, [f"cd {folder.name}", "ls"], dialect=dialect)
        assert {line.strip()[:44].strip() for line in said.splitlines()} >= names
        assert said.count("a file with a rather long name") == 2000


def test_streams(server: Server, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"zone 3")
    (folder / "file").write_bytes(b"main")
    (folder / "file").chmod(0o666)
    cd = f"cd {folder.name}"
    smbclient(server, [cd, f"put {tmp_path}/local file:Zone.Identifier"])
    said = smbclient(server, [cd, "allinfo file"])
    assert "stream: [:Zone.Identifier:$DATA], 6 bytes" in said
    smbclient(server, [cd, f"get file:zone.identifier {tmp_path}/back"])
    assert (tmp_path / "back").read_bytes() == b"zone 3"
    assert (folder / "file").read_bytes() == b"main"


def test_space_of_the_volume(server: Server) -> None:
    said = smbclient(server, ["du", "volume"])
    blocks = re.search(r"(\d+) blocks of size (\d+)\. (\d+) blocks available", said)
    assert blocks, said
    total, size, _ = map(int, blocks.groups())
    facts = os.statvfs(server.data)
    assert total * size == pytest.approx(facts.f_blocks * facts.f_frsize, rel=0.01)
    assert "Volume: |data|" in said


def test_the_list_of_shares(server: Server) -> None:
    said = subprocess.run(
        [*smbclient_command(server), "-g", "-L", server.host],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    rows = {tuple(line.split("|")) for line in said.splitlines() if line.count("|") == 2}
    assert ("Disk", "data", "The tests' folder") in rows
    assert {row[1] for row in rows if row[0] == "Disk"} >= {
        "data",
        "encrypted",
        "readonly",
        "private",
    }
    assert any(row[:2] == ("IPC", "IPC$") for row in rows)
    assert not any(row[1] == "hidden" for row in rows)
    smbclient(server, ["ls"], share="hidden")


def test_a_read_only_share(server: Server, tmp_path: Path) -> None:
    (server.folder / "readonly/file").write_bytes(b"kept")
    smbclient(server, [f"get file {tmp_path}/back"], share="readonly")
    assert (tmp_path / "back").read_bytes() == b"kept"
    denied = ("NT_STATUS_ACCESS_DENIED", "NT_STATUS_MEDIA_WRITE_PROTECTED")
    for command in (f"put {tmp_path}/back new", "del file", "mkdir new", "rename file new"):
        said = smbclient(server, [command], share="readonly", ok=False)
        assert any(status in said for status in denied), said
    assert [p.name for p in (server.folder / "readonly").iterdir()] == ["file"]


def test_a_share_with_named_users(server: Server) -> None:
    smbclient(server, ["ls"], share="private")
    said = smbclient(server, ["ls"], share="private", account=BOB, ok=False)
    assert "NT_STATUS_ACCESS_DENIED" in said


def test_files_belong_to_who_wrote_them(server: Server, folder: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: everything belongs to the user who runs the server")
    (tmp_path / "local").write_bytes(b"x")
    smbclient(server, [f"cd {folder.name}", f"put {tmp_path}/local his"], account=BOB)
    assert pwd.getpwuid((folder / "his").stat().st_uid).pw_name == BOB.name
    (folder / "secret").write_bytes(b"root's alone")
    (folder / "secret").chmod(0o600)
    said = smbclient(server, [f"cd {folder.name}", f"get secret {tmp_path}/back"], ok=False)
    assert "NT_STATUS_ACCESS_DENIED" in said


def test_the_share_ends_at_its_root(server: Server, folder: Path, tmp_path: Path) -> None:
    (folder / "out").symlink_to("/etc")
    (folder / "up").symlink_to("../..")
    for path in ("out/passwd", "up/log"):
        smbclient(server, [f"cd {folder.name}", f"get {path} {tmp_path}/back"], ok=False)
    assert not (tmp_path / "back").exists()
    assert NETBIOS_NAME not in smbclient(server, [f"cd {folder.name}", "ls"])
