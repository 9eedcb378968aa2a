"""The text of a configuration file: how large, in which encoding, and where it is wrong."""

from pathlib import Path

import pytest

from usmbd.mountd.config import source
from usmbd.mountd.config.source import MAX_FILE_SIZE, read_text
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.users import replace_file


def refused(path: Path) -> tuple[str, int, str]:
    with pytest.raises(ConfigError) as caught:
        read_text(path)
    return caught.value.file, caught.value.line, caught.value.message


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_bytes(b"\xef\xbb\xbf[global]\n")
    assert read_text(path) == "[global]\n"


def test_the_size_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FILE_SIZE == 8 << 20
    monkeypatch.setattr(source, "MAX_FILE_SIZE", 100)
    path = tmp_path / "conf"
    path.write_bytes(b"x" * 100)
    assert read_text(path) == "x" * 100
    path.write_bytes(b"x" * 101)
    assert refused(path) == (str(path), 0, "the file is larger than 100 bytes")


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"\xff", 1, "the text is not UTF-8"),
        (b"a\nb\n\xe4", 3, "the text is not UTF-8"),
        (b"# \xe4\nb = \xe4 # x\n", 2, "the text is not UTF-8"),
        (b"\0", 1, "the text holds a NUL character"),
        (b"a\nb\0\n\0", 2, "the text holds a NUL character"),
    ],
)
def test_where_it_is_wrong(tmp_path: Path, data: bytes, line: int, message: str) -> None:
    path = tmp_path / "conf"
    path.write_bytes(data)
    assert refused(path) == (str(path), line, message)


def test_comments_may_be_of_an_older_character_set(tmp_path: Path) -> None:
    """The tools leave them as they are."""
    path = tmp_path / "conf"
    data = "# gr\u00fc\u00dfe\n  ; f\u00fcr\n[a]\npath = /\u00fc\n".encode()
    old = data.replace("gr\u00fc\u00dfe".encode(), b"gr\xfc\xdfe")
    path.write_bytes(old)
    text = read_text(path)
    assert text.endswith("[a]\npath = /\u00fc\n")
    replace_file(path, text + "read only = no\n", 0o600)
    assert path.read_bytes() == old + b"read only = no\n"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == (str(tmp_path / "none"), 0, "No such file or directory")
    assert refused(tmp_path) == (str(tmp_path), 0, "Is a directory")
