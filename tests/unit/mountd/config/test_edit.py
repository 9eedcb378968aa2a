"""Changes to configuration files: what was asked for, and nothing else."""

from pathlib import Path

import pytest
from mountd_helpers import configuration

from usmbd.mountd.config.edit import parse_option, remove_share, set_options
from usmbd.mountd.errors import ConfigError

PATH = Path("/etc/usmbd.conf")
YAML = Path("/etc/usmbd.yaml")
TEXT = """\
; a comment
[global]
\tworkgroup = A

[one]
\t; of one
\tpath = /srv/one
\tvalid users = alice \\
\t\tbob

[two]
\tpath = /srv/two
"""


def test_a_new_share_is_appended() -> None:
    result = set_options(TEXT, PATH, "three", [("path", "/srv/3"), ("writable", "yes")])
    assert result == TEXT + "\n[three]\n\tpath = /srv/3\n\twritable = yes\n"
    assert set_options("", PATH, "a", [("path", "/t")]) == "[a]\n\tpath = /t\n"


def test_an_update_touches_its_lines_alone() -> None:
    changes = [("path", "/new"), ("valid users", ""), ("comment", "x")]
    result = set_options(TEXT, PATH, "ONE", changes)
    expected = TEXT.replace("\tpath = /srv/one\n\tvalid users = alice \\\n\t\tbob\n", "")
    assert result == expected.replace("; of one\n", "; of one\n\tpath = /new\n\tcomment = x\n")


def test_a_synonym_is_replaced() -> None:
    text = "[a]\npath = /t\nwriteable = yes\n"
    assert set_options(text, PATH, "a", [("read only", "yes")]) == (
        "[a]\npath = /t\n\tread only = yes\n"
    )


def test_a_share_is_removed_with_its_lines() -> None:
    one_removed = remove_share(TEXT, PATH, "One")
    assert "/srv/one" not in one_removed
    assert "bob" not in one_removed
    assert sorted(configuration(one_removed).shares) == ["ipc$", "two"]
    assert remove_share(TEXT, PATH, "two") == TEXT.replace("[two]\n\tpath = /srv/two\n", "")


def test_a_line_that_goes_on_begins_no_section() -> None:
    text = (
        "[one]\ncomment = see \\\n[two] for more\npath = /1\nvalid users = root\n[two]\npath = /2\n"
    )
    removed = remove_share(text, PATH, "two")
    assert removed == text.replace("[two]\npath = /2\n", "")
    assert set_options(text, PATH, "two", [("path", "/3")]) == text.replace(
        "path = /2", "\tpath = /3"
    )


def test_yaml() -> None:
    text = set_options("", YAML, "Data", [("path", "/t"), ("create mask", "0700")])
    text = set_options(text, YAML, "global", [("workgroup", "B")])
    text = set_options(text, YAML, "data", [("writeable", "yes"), ("create mode", "0600")])
    text = set_options(text, YAML, "data", [("read only", "yes")])
    config = configuration(text, YAML.name)
    share = config.find_share("data")
    assert share is not None
    assert (share.config.create_mask, share.config.read_only) == (0o600, True)
    assert "writeable" not in text
    assert list(configuration(remove_share(text, YAML, "DATA"), YAML.name).shares) == ["ipc$"]


def test_options_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="did you mean 'comment'"):
        set_options("", PATH, "a", [("coment", "x")])
    for text in ("comment", "= x", "comment = x\npath = /"):
        with pytest.raises(ValueError, match="is not NAME = VALUE"):
            parse_option(text)


COMMENTED = """\
# my server
global:
  log level: 1   # first
  tcp port: 24467
shares:
  # of all
  data:
    path: /tmp
    create mask: 0744
    read only: no
    valid users: [alice, "@staff"]
"""


def test_yaml_keeps_what_is_not_changed() -> None:
    """Comments, order, quotes, flow style, and how numbers are written."""
    text = set_options(COMMENTED, YAML, "new", [("path", "/new"), ("comment", "a: b # c")])
    assert text == COMMENTED + "  new:\n    path: /new\n    comment: 'a: b # c'\n"
    assert remove_share(text, YAML, "NEW") == COMMENTED
    text = set_options(COMMENTED, YAML, "data", [("writable", "yes"), ("valid users", "")])
    assert text == COMMENTED.replace("read only: no", "writable: yes").replace(
        '    valid users: [alice, "@staff"]\n', ""
    )
    assert set_options(COMMENTED, YAML, "data", [("Read_Only", "yes")]) == COMMENTED.replace(
        "read only: no", "read only: yes"
    )
    assert set_options(COMMENTED, YAML, "global", [("comment", "x" * 300)]) == COMMENTED.replace(
        "  tcp port: 24467\n", "  tcp port: 24467\n  comment: " + "x" * 300 + "\n"
    )
    alone = remove_share(COMMENTED, YAML, "data")
    assert alone.startswith("# my server\nglobal:\n  log level: 1   # first\n")
    assert configuration(alone, YAML.name).shares.keys() == {"ipc$"}


def test_what_is_no_yaml_is_not_changed() -> None:
    for text in ("a: [", "a: b: c", "global: {}\nglobal: {}\n"):
        with pytest.raises(ValueError, match="not YAML that can be changed"):
            set_options(text, YAML, "data", [("path", "/t")])


@pytest.mark.parametrize("name", ["0815", "1.10", "2020-01-01", "true", "0x1F"])
def test_shares_whose_names_look_like_something_else(name: str) -> None:
    """What is no text for YAML is one here: names, and values as 0744."""
    text = f"shares:\n  {name}: # kept\n    path: /t\n    create mask: 0744\n    comment: ~\n"
    changed = set_options(text, YAML, name, [("path", "/u")])
    assert changed == text.replace("/t", "/u")
    assert list(configuration(changed, YAML.name).shares) == ["ipc$", name.casefold()]
    assert configuration(remove_share(changed, YAML, name), YAML.name).shares.keys() == {"ipc$"}
    both = set_options(changed, YAML, "new", [("path", "/n")])
    assert both == changed + "  new:\n    path: /n\n"


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("path", "/srv/Music #1", '"/srv/Music #1"'),
        ("path", "/srv/a#b", "/srv/a#b"),
        ("comment", "rock ; roll", '"rock ; roll"'),
        ("comment", "# one", '"# one"'),
        ("comment", "ends with \\", '"ends with \\"'),
        ("comment", '3" and 5"', '3" and 5"'),
        ("valid users", '"a ;b", c', '"a ;b", c'),
        ("log file", "/var/log/a #b", '"/var/log/a #b"'),
        ("read only", "yes ; or no", '"yes ; or no"'),  # load says that it is neither
    ],
)
def test_what_is_written_is_what_is_read(name: str, value: str, written: str) -> None:
    section = "global" if name == "log file" else "a"
    text = set_options("[a]\npath = /t\nread only = no\n", PATH, section, [(name, value)])
    assert f"\t{name} = {written}\n" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("valid users", "root ; daemon"),
        ("comment", 'the "a ;b'),
    ],
)
def test_what_a_line_cannot_say_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match="a line cannot say that"):
        set_options("[a]\npath = /t\n", PATH, "a", [(name, value)])
    text = set_options("shares:\n  a:\n    path: /t\n", YAML, "a", [("comment", "rock ; roll")])
    assert configuration(text, YAML.name).shares["a"].config.comment == "rock ; roll"


def test_what_another_line_says_is_not_changed_in_vain(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("comment = first\n")
    path = tmp_path / "usmbd.conf"
    text = "[a]\ninclude = more\npath = /t\n"
    for value in ("second", ""):
        with pytest.raises(ConfigError, match=r"more:1: comment = first would hold"):
            set_options(text, path, "a", [("comment", value)])
    with pytest.raises(ConfigError, match="no line can hold"):
        set_options("", path, "a", [("comment", "a\nguest ok = yes")])
    with pytest.raises(ValueError, match="take another name"):
        set_options("", path, " a", [("path", "/t")])


def test_a_line_goes_on_to_no_line_that_is_added() -> None:
    text = set_options("[a]\npath = /t\ncomment = x \\", PATH, "a", [("guest ok", "yes")])
    config = configuration(text).shares["a"].config
    assert (config.comment, config.guest_ok) == ("x", True)


@pytest.mark.parametrize("path", [PATH, YAML])
def test_two_options_that_say_different_things(path: Path) -> None:
    for options in (
        [("comment", "a"), ("Comment", "b")],
        [("read only", "yes"), ("writable", "yes")],
        [("comment", "a"), ("comment", "")],
    ):
        with pytest.raises(ConfigError, match=r"^the option: .* says something else than"):
            set_options("", path, "a", [("path", "/t"), *options])
    text = set_options("", path, "a", [("path", "/t"), ("read only", "no"), ("writable", "yes")])
    assert "writable" not in text


@pytest.mark.parametrize("path", [PATH, YAML])
def test_lines_that_end_as_on_windows(path: Path) -> None:
    text = TEXT if path is PATH else COMMENTED
    text = text.replace("\n", "\r\n")
    new = set_options(text, path, "new", [("path", "/new")])
    assert new.startswith(text)
    assert new.count("\n") == new.count("\r\n") > text.count("\n")
    removed = remove_share(new, path, "new")
    assert removed.rstrip() == text.rstrip()
    assert removed.count("\n") == removed.count("\r\n")
    mixed = TEXT.replace("\n", "\r\n", 1)
    assert set_options(mixed, PATH, "new", [("path", "/new")]).startswith(mixed)
