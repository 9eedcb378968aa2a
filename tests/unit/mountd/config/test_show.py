"""`usmbd.control --check`: what is printed says what the files say."""

import json

import pytest
from mountd_helpers import configuration

from usmbd.mountd.config import show
from usmbd.mountd.config.configuration import Configuration


def said_in_yaml(name: str, value: str | list[str]) -> Configuration:
    """Return a configuration with a share that says this."""
    share = {"path": "/t", name: value}
    return configuration(json.dumps({"shares": {"s": share}}), "usmbd.yaml")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("path", "/srv/Music #1", '"/srv/Music #1"'),
        ("comment", "rock ; roll", '"rock ; roll"'),
        ("comment", "of %H", "of %H"),
        ("comment", "50%%S", "50%%S"),
        ("comment", "ends with \\", '"ends with \\"'),
        ("comment", '"q" ; z', '""q" ; z"'),
        ("valid users", ["a b", "c;d", "e,f", "#g"], '"a b" "c;d" "e,f" "#g"'),
        ("veto files", "/a ;b/", '"/a ;b/"'),
    ],
)
def test_what_yaml_says_is_printed_so_that_it_is_read(
    name: str, value: str | list[str], line: str
) -> None:
    if "%H" in value:
        found = configuration(f"[homes]\n{name} = {value}\n")
    else:
        found = said_in_yaml(name, value)
    lines = show.lines(found)
    assert f"\t{name} = {line}" in lines
    assert configuration("\n".join(lines)).said == {**found.said, "global": {}}


@pytest.mark.parametrize(
    ("name", "value"),
    [("comment", 'a "b ;c'), ("valid users", ['a"b']), ("veto files", ["a/b"])],
)
def test_what_no_line_says_is_a_comment(name: str, value: str | list[str]) -> None:
    lines = show.lines(said_in_yaml(name, value))
    (line,) = [each for each in lines if "cannot say it" in each]
    assert line.startswith(f"\t# {name} = ")
    assert configuration("\n".join(lines)).shares["s"].config.path == "/t"


def test_an_empty_text_that_is_said() -> None:
    found = configuration('[global]\nserver string = ""\n')
    assert '\tserver string = ""' in show.lines(found)
