"""Files as distributions and appliances have them for smbd: `tests/support/smb_confs`.

Written for these tests in the shape of public ones, with their parameters and peculiarities.
"""

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "smb_confs"
NAMES: Final = sorted(path.stem for path in FOLDER.glob("*.conf"))
NO_SHARES: Final = ("global", "homes", "printers", "print$")


_WHO: Final = re.compile(r"(?i)\s*(.* (users|user|list|group|account)|forceuser)\s*=")


def text_of(name: str, folder: Path, user: str = "nobody", group: str = "nogroup") -> str:
    """Return a file whose shares lie in `folder`; its accounts are this user and this group."""
    text = (FOLDER / f"{name}.conf").read_text()
    text = re.sub(r"(?mi)^(\s*path\s*=\s*)(?=/)", rf"\g<1>{folder}", text)
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if _WHO.match(line) and line.lstrip()[0] not in ";#":
            line = re.sub(r"\b(alice|pi|smbuser|ftp)\b", user, line)
            lines[number] = re.sub(r"\b(family|smb)\b", group, line)
    return "\n".join(lines)


def shares_of(text: str) -> list[str]:
    """Return the names of the shares that a file describes: what has a path."""
    name, found = "", list[str]()
    for line in map(str.strip, text.split("\n")):
        if line.startswith("["):
            name = line[1:].partition("]")[0]
        elif re.match(r"(?i)path\s*=", line) and name not in NO_SHARES:
            found.append(name)
    return found


def folders_of(text: str, user: str) -> list[Path]:
    """Return the folders that its shares need, those of a user and of an address as well."""
    found = re.findall(r"(?mi)^\s*path\s*=\s*(/.*?)\s*$", text)
    return [Path(path.replace("%U", user).replace("%m", "127.0.0.1")) for path in found]
