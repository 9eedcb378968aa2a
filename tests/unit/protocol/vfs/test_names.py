"""What a client may write as a name."""

import pytest

from usmbd.protocol.vfs.names import parse_path
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        ("", ("", None)),
        ("file", ("file", None)),
        (r"dir\sub\file.txt", ("dir/sub/file.txt", None)),
        ("dir\\", ("dir", None)),
        ("dir\\\\", ("dir", None)),
        ("a\\\\b", ("a/b", None)),
        ("dir/sub\\file:stream", ("dir/sub/file", "stream")),
        ("a//b/", ("a/b", None)),
        ("a\\\\\\b\\\\c:s", ("a/b/c", "s")),
        ("file::$DATA", ("file", None)),
        ("file::$data", ("file", None)),
        (r"dir\file:stream", ("dir/file", "stream")),
        ("file:stream:$DATA", ("file", "stream")),
        (':stream"<>|?*', ("", 'stream"<>|?*')),
        (".hidden", (".hidden", None)),
        ("...", ("...", None)),
        ("ends. ", ("ends. ", None)),
        ("Größe", ("Größe", None)),
        ("\udc80", ("\udc80", None)),
        ("dir\\a\uf022b", ("dir/a:b", None)),
        ("a\uf026b\\c\uf029", ("a\\b/c.", None)),
        ("\uf029\\.\uf029", ("\uf029/.\uf029", None)),
        ("x" * 255, ("x" * 255, None)),
        ("a\\..\\b", ("b", None)),
        ("a\\\\..\\\\b", ("b", None)),
        ("a\\b\\..\\..", ("", None)),
        ("a\\b\\..\\c:s", ("a/c", "s")),
    ],
)
def test_good_paths(path: str, parsed: tuple[str, str | None]) -> None:
    assert parse_path(path) == parsed


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("\\file", NtStatus.INVALID_PARAMETER),
        ("\\\\file", NtStatus.INVALID_PARAMETER),
        ("..", NtStatus.OBJECT_PATH_SYNTAX_BAD),
        ("..\\x", NtStatus.OBJECT_PATH_SYNTAX_BAD),
        ("a\\..\\..", NtStatus.OBJECT_PATH_SYNTAX_BAD),
        ("a\\..\\..\\b", NtStatus.OBJECT_PATH_SYNTAX_BAD),
        (".", NtStatus.OBJECT_NAME_INVALID),
        ("a\\.\\b", NtStatus.OBJECT_NAME_INVALID),
        ("/a", NtStatus.INVALID_PARAMETER),
        ("a/../../b", NtStatus.OBJECT_PATH_SYNTAX_BAD),
        ("a:b/c", NtStatus.OBJECT_NAME_INVALID),
        ("a\0b", NtStatus.OBJECT_NAME_INVALID),
        ("a\x1fb", NtStatus.OBJECT_NAME_INVALID),
        *((f"a{character}", NtStatus.OBJECT_NAME_INVALID) for character in '"*<>?|'),
        ("file:", NtStatus.OBJECT_NAME_INVALID),
        ("file::", NtStatus.OBJECT_NAME_INVALID),
        ("file:a:b:$DATA", NtStatus.OBJECT_NAME_INVALID),
        ("file:a:$INDEX_ALLOCATION", NtStatus.OBJECT_NAME_INVALID),
        ("a:s\\b", NtStatus.OBJECT_NAME_INVALID),
        ("a:s/b", NtStatus.OBJECT_NAME_INVALID),
        ("\ud800", NtStatus.OBJECT_NAME_INVALID),
        ("\udcc3\udca9", NtStatus.OBJECT_NAME_INVALID),  # é in disguise
        ("x:\ud800", NtStatus.OBJECT_NAME_INVALID),
        ("x" * 256, NtStatus.OBJECT_NAME_INVALID),
        ("\U0001f600" * 128, NtStatus.OBJECT_NAME_INVALID),
    ],
)
def test_bad_paths(path: str, status: NtStatus) -> None:
    with pytest.raises(SmbError) as caught:
        parse_path(path)
    assert caught.value.status == status


def test_without_stand_ins_names_are_as_they_are_written() -> None:
    assert parse_path("a\uf022b", stand_ins=False) == ("a\uf022b", None)


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("x" * 255, True),
        ("x" * 256, False),
        ("a\\" + "x" * 256, False),
        ("\U0001f600" * 127, True),  # two UTF-16 units each
        ("\U0001f600" * 128, False),
        ("\U0001f600" * 127 + "x", True),
        ("é" * 255, True),
        ("é" * 256, False),
        ("/".join(["x"]).replace("/", "\\") * 1 + "\\" + "y" * 255, True),
    ],
)
def test_a_component_has_255_units_of_utf_16(path: str, taken: bool) -> None:
    if taken:
        assert parse_path(path)[0] == path.replace("\\", "/")
    else:
        with pytest.raises(SmbError) as caught:
            parse_path(path)
        assert caught.value.status is NtStatus.OBJECT_NAME_INVALID


def test_a_path_has_4096_characters() -> None:
    longest = "\\".join(["x" * 255] * 16)[:4094] + "\\z"
    assert len(longest) == 4096
    assert parse_path(longest)[0] == longest.replace("\\", "/")
    with pytest.raises(SmbError):
        parse_path(longest + "z")
    assert parse_path(longest + ":" + "s" * 255)[1] == "s" * 255
    with pytest.raises(SmbError):
        parse_path("file:" + "s" * 256)
