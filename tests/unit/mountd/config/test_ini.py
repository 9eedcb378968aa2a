"""The syntax of ksmbd.conf and smb.conf: lines, comments, includes and how deep they may go."""

from pathlib import Path

import pytest

from usmbd.mountd.config import ini
from usmbd.mountd.config.ini import MAX_INCLUDE_DEPTH, logical_lines, read_back, strip_comment
from usmbd.mountd.config.source import Source


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (" a b ", "a b"),
        ("a ; b", "a"),
        ("a\t# b", "a"),
        ("a;b #c", "a;b"),
        ("a#b", "a#b"),
        ("; all", ""),
        ('"a ; b"', '"a ; b"'),
        ('"a ;" "b #" ; c', '"a ;" "b #"'),
        ('12" disks ; old', '12" disks'),
        ('12" disks ; and 5" ones', '12" disks'),
        ('@"a ;b",+"c #d" ; e', '@"a ;b",+"c #d"'),
        ("#", ""),
        ("", ""),
    ],
)
def test_comments(value: str, kept: str) -> None:
    assert strip_comment(value) == kept


@pytest.mark.parametrize(
    ("written", "read"),
    [("a b", "a b"), ("a ;b", "a"), (" a", "a"), ("a\\", None), ("a\nb", None), ("#", "")],
)
def test_what_a_line_says_of_a_value(written: str, read: str | None) -> None:
    assert read_back(written) == read


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb", [(1, "a"), (2, "b")]),
        ("a \\\n b\nc", [(1, "a b"), (3, "c")]),
        ("\n  a\\\n\\\nb\n", [(1, ""), (2, "a  b"), (5, "")]),
        ("# no \\\nb", [(1, "# no \\"), (2, "b")]),
        ("; no \\\nb", [(1, "; no \\"), (2, "b")]),
        ("a\\\n; part \\\nb", [(1, "a ; part b")]),
        ("a\\", [(1, "a")]),
        ("x\na\\\nb\\", [(1, "x"), (2, "a b")]),
        ("", [(1, "")]),
    ],
)
def test_lines_that_go_on(text: str, lines: list[tuple[int, str]]) -> None:
    assert logical_lines(text) == lines


def read(path: Path) -> Source:
    source = Source()
    ini.parse(path.read_text(), path, source)
    return source


def chain(folder: Path, length: int) -> Path:
    """Write a file that includes another and so on, `length` files in all."""
    for number in range(length - 1):
        (folder / f"{number}.conf").write_text(
            f"[s]\np{number} = {number}\ninclude = {number + 1}.conf\n"
        )
    (folder / f"{length - 1}.conf").write_text("[s]\nlast = yes\n")
    return folder / "0.conf"


def test_includes_go_as_deep_as_is_allowed(tmp_path: Path) -> None:
    assert MAX_INCLUDE_DEPTH == 8
    source = read(chain(tmp_path, MAX_INCLUDE_DEPTH))
    assert source.errors == []
    assert source.sections["s"].entries[-1].name == "last"


def test_includes_go_no_deeper(tmp_path: Path) -> None:
    source = read(chain(tmp_path, MAX_INCLUDE_DEPTH + 1))
    (error,) = source.errors
    assert error.message.endswith("the files include each other or too deeply")
    assert (error.file, error.line) == (str(tmp_path / "7.conf"), 3)
    assert "last" not in [entry.name for entry in source.sections["s"].entries]


def test_two_files_that_include_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("include = b\n")
    (tmp_path / "b").write_text("[s]\nx = 1\ninclude = a\n")
    source = read(tmp_path / "a")
    (error,) = source.errors
    assert (error.file, error.line) == (str(tmp_path / "b"), 3)
    assert len(source.sections["s"].entries) == 1


def test_a_malformed_include_is_told_with_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[s]\ninclude = b\n")
    (tmp_path / "b").write_bytes(b"x = 1\ny = \xff\n")
    (error,) = read(tmp_path / "a").errors
    assert (error.file, error.line, error.message) == (
        *(str(tmp_path / "b"), 2),
        "the text is not UTF-8",
    )


def test_an_include_that_cannot_be_read_is_told_with_the_line_that_names_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "a").write_text("[s]\n\ninclude = b\n")
    (tmp_path / "b").mkdir()
    (error,) = read(tmp_path / "a").errors
    assert (error.file, error.line) == (str(tmp_path / "a"), 3)
    assert "Is a directory" in error.message
