"""Which file a client means that writes its path otherwise than it is on disk."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.resolve import Resolver
from usmbd.protocol.vfs.spelling import to_wire
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.wire.fscc.attributes import IO_REPARSE_TAG_SYMLINK
from usmbd.protocol.wire.status import NtStatus, SmbError

MISSING = NtStatus.OBJECT_NAME_NOT_FOUND


def found(volume: Volume, path: str, *, link: bool = False) -> str | NtStatus:
    """Look a client's path up: the path on disk, or the status."""
    try:
        with volume.lookup(volume.parse_path(path)[0], open_reparse_point=link) as node:
            return node.path
    except SmbError as error:
        return error.status


def listed(volume: Volume, path: str = "") -> set[str]:
    with volume.lookup(path) as node:
        return {name for name, *_ in node.scan()} - {".", ".."}


# --- the directory in another case ------------------------------------------------------------


@pytest.fixture
def projects(tmp_path: Path) -> Volume:
    (tmp_path / "Projects" / "Sub").mkdir(parents=True)
    for name in ("Projects/file.txt", "Projects/Sub/deep.txt", "Projects/what?"):
        (tmp_path / name).touch()
    (tmp_path / "Projects" / "nowhere").symlink_to("nothing")
    return Volume(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("PROJECTS\\file.txt", "Projects/file.txt"),
        ("PROJECTS\\FILE.TXT", "Projects/file.txt"),
        ("Projects\\SUB\\deep.txt", "Projects/Sub/deep.txt"),
        ("PROJECTS\\Sub\\deep.txt", "Projects/Sub/deep.txt"),
        ("projects\\what\uf025", "Projects/what?"),
        ("PROJECTS\\WHAT\uf025", "Projects/what?"),
        ("PROJECTS\\none", MISSING),
        ("PROJECTS\\nowhere", NtStatus.ACCESS_DENIED),
        ("none\\file.txt", NtStatus.OBJECT_PATH_NOT_FOUND),
        ("PROJECTS\\file.txt\\below", NtStatus.OBJECT_PATH_NOT_FOUND),
    ],
)
def test_a_directory_in_another_case(projects: Volume, path: str, expected: str | NtStatus) -> None:
    assert found(projects, path) == expected


def test_what_is_done_in_a_directory_in_another_case(projects: Volume, tmp_path: Path) -> None:
    projects.create_file("PROJECTS/new.txt").close()
    projects.create_directory("PROJECTS/new").close()
    with projects.lookup("PROJECTS/new.txt") as node:
        directory_entry.rename(node, "projects/file.txt", True)
    with projects.lookup("PROJECTS/Sub/deep.txt") as node:
        directory_entry.link(node, "PROJECTS/SUB/link", False)
        directory_entry.unlink(node)
    assert sorted(os.listdir(tmp_path / "Projects")) == [
        "Sub",
        "file.txt",
        "new",
        "nowhere",
        "what?",
    ]
    assert os.listdir(tmp_path / "Projects/Sub") == ["link"]


def test_below_an_absolute_link_everything_goes_too(projects: Volume, tmp_path: Path) -> None:
    (tmp_path / "abs").symlink_to(tmp_path / "Projects")
    assert found(projects, "abs\\FILE.TXT") == "abs/file.txt"
    assert found(projects, "ABS\\SUB\\deep.txt") == "abs/Sub/deep.txt"
    assert found(projects, "abs\\none") == MISSING
    projects.create_file("abs/new").close()
    assert (tmp_path / "Projects/new").exists()
    assert found(projects, "abs\\nowhere", link=True) == "abs/nowhere"


# --- others come and go meanwhile --------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Have these happen before and after the look for variants, one a time."""
    variant, left = Resolver.variant, list(steps)

    def disturbed(
        self: Resolver, directory: int, name: str, *_: object, **__: object
    ) -> str | None:
        if left:
            left.pop(0)()
        result = variant(self, directory, name)
        if left:
            left.pop(0)()
        return result

    monkeypatch.setattr(Resolver, "variant", disturbed)


def test_a_name_that_appears_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, file = Volume(str(tmp_path)), tmp_path / "file"
    meanwhile(monkeypatch, file.touch)
    assert found(volume, "file") == "file"


def test_a_name_that_goes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, file = Volume(str(tmp_path)), tmp_path / "file"
    meanwhile(monkeypatch, file.touch, file.unlink)
    assert found(volume, "file") == MISSING
    meanwhile(monkeypatch, file.touch, file.unlink, file.touch)
    assert found(volume, "file") == "file"


def test_a_name_that_never_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, file = Volume(str(tmp_path)), tmp_path / "file"
    meanwhile(monkeypatch, *[file.touch, file.unlink] * 100)
    assert found(volume, "file") == MISSING


# --- names that SMB cannot say -----------------------------------------------------------------

ODD = (b"12:30", b"what?", b"a|b", b"back\\slash", b"x\x01y\n", b"Jr.", b"sp ", b"CON", b"aux.c",
       b"Lpt1.txt", b"caf\xe9", b"\xff", b" ", b"...", b"\xc3", b'"', b"a*", b"<>")  # fmt: skip


@pytest.mark.parametrize("case_sensitive", [False, True])
def test_what_is_listed_can_be_opened_and_deleted(tmp_path: Path, case_sensitive: bool) -> None:
    directory = os.fsencode(tmp_path) + b"/d"
    os.mkdir(directory)
    for name in ODD:
        os.mkdir(directory + b"/" + name)
        os.close(os.open(directory + b"/" + name + b"/in", os.O_CREAT))
    volume = Volume(str(tmp_path), VolumeOptions(case_sensitive=case_sensitive))
    names = listed(volume, "d")
    assert len(names) == len(ODD)
    for name in names:
        path, _ = volume.parse_path(f"d\\{name}")
        assert volume.wire_path(path) == f"d\\{name}"
        with volume.lookup(f"{path}/in") as node:
            assert node.path == f"{path}/in"
            directory_entry.unlink(node)
        if not case_sensitive:
            other = volume.parse_path(f"D\\{name}".swapcase())[0]
            assert found(volume, f"D\\{name}".swapcase()) == path, other
        with volume.lookup(path) as node:
            directory_entry.unlink(node)
    assert os.listdir(directory) == []


def test_what_a_client_calls_so_is_stored_so(tmp_path: Path) -> None:
    volume = Volume(str(tmp_path))
    volume.create_file(volume.parse_path("12\uf02230")[0]).close()
    volume.create_directory(volume.parse_path("Jr\uf029")[0]).close()
    assert sorted(os.listdir(tmp_path)) == ["12:30", "Jr."]
    with volume.lookup("12:30") as node:
        directory_entry.rename(node, volume.parse_path("Jr\uf029\\a\uf02ab\uf025")[0], False)
    assert os.listdir(tmp_path / "Jr.") == ["a\uf02ab?"]


def test_a_name_that_looks_like_the_spelling_of_another(tmp_path: Path) -> None:
    volume = Volume(str(tmp_path))
    (tmp_path / "a\uf022b").write_text("stored")
    assert listed(volume) == {"a\uf022b"}
    assert found(volume, "a\uf022b") == found(volume, "A\uf022B") == "a\uf022b"
    with pytest.raises(SmbError) as caught, volume.lookup("a\uf022b") as node:
        directory_entry.rename(node, "a\uf022b/x", False)
    assert caught.value.status is NtStatus.OBJECT_PATH_NOT_FOUND
    (tmp_path / "a:b").write_text("local")
    names = listed(volume)
    assert len(names) == 2
    assert "a\uf022b" in names
    assert {found(volume, name) for name in names} == {"a:b", "a\uf022b"}
    assert found(volume, "a\uf022b") == "a:b"
    assert volume.wire_path("a\uf022b") in names
    for name in names:
        with volume.lookup(volume.parse_path(name)[0]) as node:
            directory_entry.unlink(node)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_renamed_to_another_name_of_its_own_stays(tmp_path: Path, replace: bool) -> None:
    volume = Volume(str(tmp_path))
    (tmp_path / "a\uf022b").write_text("stored")
    (tmp_path / "a long name").write_text("long")
    with volume.lookup("a:b") as node:
        directory_entry.rename(node, "a:b", replace)
    with volume.lookup("a long name") as node:
        short = directory_entry.short_name(node)
        directory_entry.rename(node, short, replace)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a:b": "stored",
        short: "long",
    }


def test_twins_by_case_are_two(tmp_path: Path) -> None:
    names = ("readme?", "README?", "ReadMe?")
    for name in names:
        (tmp_path / name).touch()
    volume = Volume(str(tmp_path))
    assert {found(volume, name) for name in listed(volume)} == set(names)
    assert found(volume, "rEADmE\uf025") in names


def test_a_share_without_made_names(tmp_path: Path) -> None:
    for name in ("a:b", "Jr.", "a\uf022b"):
        (tmp_path / name).touch()
    volume = Volume(str(tmp_path), VolumeOptions(made_names=False))
    assert listed(volume) == {"Jr.", "a\uf022b"}
    assert found(volume, "a\uf022b") == "a\uf022b"


# --- links that are not followed ---------------------------------------------------------------


@pytest.mark.parametrize("follow", [False, True])
def test_a_link_that_is_not_followed_is_seen_and_deleted(tmp_path: Path, follow: bool) -> None:
    share, outside = tmp_path / "share", tmp_path / "outside"
    (share / "d").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").touch()
    links = {"nowhere": "nothing", "away": outside, "file": outside / "kept", "round": "round",
             "what?": "x"}  # fmt: skip
    if not follow:
        (share / "real").touch()
        links["inside"] = "../real"
    for name, target in links.items():
        (share / "d" / name).symlink_to(target)
    volume = Volume(str(share), VolumeOptions(follow_symlinks=follow))
    with volume.lookup("d") as node:
        entries = {name: facts for name, _, facts, _ in node.scan() if name not in (".", "..")}
    assert {volume.parse_path(name)[0] for name in entries} == set(links)
    for name, facts in entries.items():
        assert facts.reparse_tag == IO_REPARSE_TAG_SYMLINK
        path, _ = volume.parse_path(f"D\\{name}")
        assert found(volume, f"D\\{name}") is NtStatus.ACCESS_DENIED
        with volume.lookup(path, open_reparse_point=True) as node:
            assert node.last_stat.ino == facts.ino
            directory_entry.unlink(node)
    with volume.lookup("d") as node:
        directory_entry.unlink(node)
    assert (outside / "kept").exists()


# --- veto files --------------------------------------------------------------------------------


@pytest.fixture
def vetoed(tmp_path: Path) -> Volume:
    """Veto `secret folder`, everything in it, and `hid:den`."""
    (tmp_path / "secret folder" / "sub").mkdir(parents=True)
    (tmp_path / "open").mkdir()
    for name in ("secret folder/file", "secret folder/sub/file", "hid:den", "hid\uf022den"):
        (tmp_path / name).touch()
    for name, target in {
        "relative": "../secret folder",
        "absolute": tmp_path / "secret folder",
        "to-file": "../secret folder/file",
        "to-sub": "../secret folder/sub",
        "to-hidden": "../hid:den",
    }.items():
        (tmp_path / "open" / name).symlink_to(target)
    veto = lambda name: name.lower() in ("secret folder", "hid:den")  # noqa: E731
    return Volume(str(tmp_path), VolumeOptions(veto=veto))


def test_no_other_name_leads_to_what_is_vetoed(vetoed: Volume, tmp_path: Path) -> None:
    short = {}
    for name in ("secret folder", "hid:den"):
        with Volume(str(tmp_path)).lookup(name) as node:
            short[name] = directory_entry.short_name(node)
    assert all(short.values())
    paths = [
        *("secret folder", "SECRET folder\\file", short["secret folder"], short["hid:den"]),
        *(short["secret folder"].lower() + "\\file", "hid\uf022den", "HID\uf022den"),
        *(to_wire("hid\uf022den"), "open\\to-hidden", "open\\relative", "open\\relative\\file"),
        *("OPEN\\RELATIVE\\FILE", "open\\absolute", "open\\absolute\\file"),
        *("open\\absolute\\sub\\file", "ABSOLUTE", "open\\to-file", "open\\\\to-file"),
        *("open\\to-sub", "open\\to-sub\\file", "open\\TO-SUB\\FILE", "open\\to-file:stream"),
    ]
    for path in paths:
        assert found(vetoed, path) in (MISSING, NtStatus.OBJECT_PATH_NOT_FOUND), path
    assert listed(vetoed) == {"open"}
    with vetoed.lookup("open") as node:
        tags = {name: facts.reparse_tag for name, _, facts, _ in node.scan()}
    assert tags.pop(".") == tags.pop("..") == 0
    assert set(tags.values()) == {IO_REPARSE_TAG_SYMLINK}, "a link shows what it leads to"


def test_nothing_is_made_or_moved_where_it_is_vetoed(vetoed: Volume, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    for path in ("secret folder/new", "open/relative/new", "open/absolute/new", "open/to-sub/new"):
        for call in (vetoed.create_file, vetoed.create_directory):
            with pytest.raises(SmbError) as caught:
                call(path)
            assert caught.value.status is NtStatus.OBJECT_PATH_NOT_FOUND
        for link in (False, True):
            with pytest.raises(SmbError) as caught:
                vetoed.lookup(path, open_reparse_point=link)
            assert caught.value.status is NtStatus.OBJECT_PATH_NOT_FOUND
        with vetoed.lookup("mine") as node:
            with pytest.raises(SmbError):
                directory_entry.rename(node, path, False)
            with pytest.raises(SmbError):
                directory_entry.link(node, path, False)
    assert sorted(os.listdir(tmp_path / "secret folder")) == ["file", "sub"]
    assert os.listdir(tmp_path / "secret folder/sub") == ["file"]
    vetoed.create_file("open/new").close()
    assert (tmp_path / "open/new").exists()


@pytest.mark.parametrize("name", ["secret folder/file", "hid:den"])
@pytest.mark.parametrize("replace", [False, True])
def test_the_short_name_of_what_is_vetoed_is_free(
    vetoed: Volume, tmp_path: Path, name: str, replace: bool
) -> None:
    """What takes it for a new name makes that name, and neither replaces nor tells of the other."""
    path = tmp_path / ("hid:den" if name == "hid:den" else "secret file")
    path.write_bytes(b"secret")
    rules = VolumeOptions(veto=lambda name: name in ("hid:den", "secret file"))
    volume = Volume(str(tmp_path), rules)
    with Volume(str(tmp_path)).lookup(path.name) as node:
        short = directory_entry.short_name(node)
    for change in (directory_entry.rename, directory_entry.link):
        (tmp_path / "mine").write_bytes(b"mine")
        with volume.lookup("mine") as node:
            change(node, short, replace)
        assert path.read_bytes() == b"secret"
        assert (tmp_path / short).read_bytes() == b"mine"
        (tmp_path / short).unlink()
        (tmp_path / "mine").unlink(missing_ok=True)
    volume.create_file(short).close()
    volume.create_directory(f"{short}.d").close()
    assert path.read_bytes() == b"secret"


def test_what_is_vetoed_stays_so_when_the_root_is_renamed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "secret").mkdir(parents=True)
    (root / "secret/file").touch()
    (root / "link").symlink_to("secret")
    volume = Volume(str(root), VolumeOptions(veto=lambda name: name == "secret"))
    root.rename(tmp_path / "elsewhere")
    for path in ("secret\\file", "link\\file", "LINK\\FILE"):
        assert found(volume, path) in (MISSING, NtStatus.OBJECT_PATH_NOT_FOUND)
