"""`usmbd.control --check`: what is printed says what the files say."""

import json

import pytest
from mountd_helpers import configuration

from usmbd.mountd.config import show
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.config.parameters import TABLE, Parameter, Scope
from usmbd.mountd.errors import ConfigError

# Some of it every parameter takes.
VALUES = r"""yes
no
auto
2
70000
8M
0750
SMB3_02
root
root daemon
+
eth0
10.1. EXCEPT 10.1.2.
/srv/a b
"/srv/a ;b"
/a b/c;d/
50%%S
%Y-%m-%d_%H:%M:%S
\srv\my share,\b\c\d
"\srv\a ;b"
here=10.1.0.0/16,a there=b
acl_xattr streams_xattr
stream
file
none
user
bad user
nobody
manual
system keytab""".splitlines()


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
    [
        ("comment", 'a "b ;c'),
        ("comment", '"q" ; z'),
        ("valid users", ['a"b']),
        ("veto files", ["a/b"]),
    ],
)
def test_what_no_line_says_is_a_comment(name: str, value: str | list[str]) -> None:
    lines = show.lines(said_in_yaml(name, value))
    (line,) = [each for each in lines if "cannot say it" in each]
    assert line.startswith(f"\t# {name} = ")
    assert configuration("\n".join(lines)).shares["s"].config.path == "/t"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.scope} {row.name}")
def test_every_parameter_is_shown_so_that_it_is_read(row: Parameter) -> None:
    loaded = 0
    for value in VALUES:
        line = f"{row.name} = {value}\n"
        in_global, in_share = (line, "") if row.scope is Scope.GLOBAL else ("", line)
        path = "" if row.name == "path" else "path = /t\n"
        try:
            found = configuration(f"[global]\n{in_global}[s]\n{path}{in_share}")
        except ConfigError:
            continue
        loaded += 1
        for everything in (False, True) if loaded == 1 else (False,):
            text = "\n".join(show.lines(found, all_parameters=everything))
            again = configuration(text)
            assert "cannot say it" not in text
            for section, said in found.said.items():
                assert again.said[section].items() >= said.items(), value
    assert loaded


def test_ranges_of_domains_are_shown() -> None:
    text = "idmap config D : backend = rid\nidmap config D:range = 5000 - 6000\n"
    found = configuration(f"[global]\n{text}idmap config D:base_rid=7\n")
    assert found.idmap[0].base_rid == 7
    assert configuration("\n".join(show.lines(found))).idmap == found.idmap


def test_an_empty_text_that_is_said() -> None:
    found = configuration('[global]\nserver string = ""\n')
    assert '\tserver string = ""' in show.lines(found)
