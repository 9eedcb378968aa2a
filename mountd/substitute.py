"""Samba's substitutions (`%U`, `%S`, ...): smb.conf(5), VARIABLE SUBSTITUTIONS.

Some say what is known when the file is read (`STATIC`), the others what a tree connect tells. What
clients send never leads out of a folder: a value with a slash, or `..`, is refused in a path.
"""

import os
import re
import socket
from collections.abc import Mapping

from usmbd.mountd.ipc.version import version

# `%%` means a percent sign, and so does one that no letter follows.
_PATTERN = re.compile(r"%(?:(%)|([A-Za-z])|\$\(([^)]*)\))")

STATIC = "hvLDw"
"""%h the host's name, %v the version, %L the NetBIOS name, %D the workgroup, %w the backslash that
stands between domain and user; and %$(VARIABLE)."""
CONNECT = "SUuGgHIimM"
"""%S the share; %U, %G, %H the user, his primary group, his home directory; %u, %g who acts (after
`force user` or as the guest); %I the client's address, %i the server's. %m and %M are the client's
name in Samba where it can be known: by SMB 2 on port 445 that is its address."""


class Template(str):
    """A text that holds substitutions of `CONNECT`."""

    __slots__ = ()


def literal(text: str) -> str:
    """Return what has to be written for a text, whatever percent signs it has."""
    return text.replace("%", "%%")


def spelled(text: str) -> str:
    """Return a text as the value of a parameter that says it: neither substitutions nor quotes."""
    result = literal(text)
    return f'"{result}"' if len(result) > 1 and result[0] == result[-1] == '"' else result


def letters_of(text: str) -> list[str]:
    """Return the letters of a text's substitutions; `$` for an environment variable."""
    return [found[2] or "$" for found in _PATTERN.finditer(text) if not found[1]]


def without(text: str, letters: str) -> str:
    """Return what has to be written for a text in which these are the only substitutions."""
    return _PATTERN.sub(
        lambda found: f"%{found[0]}" if found[2] and found[2] not in letters else found[0], text
    )


def static_substitutions(netbios_name: str = "", workgroup: str = "") -> dict[str, str]:
    """Return what is known when a file is read, as far as it is given, but for the version."""
    host = socket.gethostname().split(".")[0]
    name = netbios_name or host.upper()[:15]
    return {"h": host, "L": name, "D": workgroup, "w": "\\"}


def _value(substitutions: Mapping[str, str], letter: str, otherwise: str) -> str:
    """Return what a letter stands for; the version is looked up where a text has it."""
    return version() if letter == "v" else substitutions.get(letter, otherwise)


def expand(text: str, substitutions: Mapping[str, str]) -> str:
    """Return the text with the values of the `substitutions` put in; the others stay."""

    def value(found: re.Match[str]) -> str:
        if found[1]:
            return "%"
        if found[2]:
            return _value(substitutions, found[2], found[0])
        return os.environ.get(found[3], "")

    return _PATTERN.sub(value, text)


def fill(text: str, substitutions: Mapping[str, str]) -> str:
    """Return a template with its values put in; another text says what it says, `%` or not."""
    return expand(text, substitutions) if isinstance(text, Template) else text


def expand_path(text: str, substitutions: Mapping[str, str]) -> str:
    """Return the path with its values; ValueError where one is not the name of one folder.

    %H is a path by itself, which the system knows.
    """
    for letter in letters_of(text):
        value = _value(substitutions, letter, "")
        if letter not in "H$" and ("/" in value or "\0" in value or value in ("", ".", "..")):
            raise ValueError(f"%{letter} is {value!r}, which is no name of a folder")
    return os.path.normpath(expand(text, substitutions))
