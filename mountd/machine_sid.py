"""The machine's domain SID: made once, kept in the data directory."""

import contextlib
import hashlib
import logging
import re
import secrets
from pathlib import Path

from usmbd.mountd.users import replace_file

log = logging.getLogger("usmbd.auth")

FILE_NAME = "machine.sid"
_SID = re.compile(r"S-1-5-21-(\d{1,10})-(\d{1,10})-(\d{1,10})")
_MACHINE_ID = Path("/etc/machine-id")


def load_machine_sid(directory: Path) -> str:
    """Return the SID that is kept in `directory`, made where there is none.

    Where it cannot be kept it is made from the machine's id, so that it is the same at every start;
    a file that says something else is left as it is, with an error in the log.
    """
    path = directory / FILE_NAME
    try:
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text(encoding="ascii").strip()
            if _is_sid(text):
                return text
            log.error("%s holds no machine's SID: it is not used", path)
            return _derived()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = _sid(secrets.token_bytes(12))
        replace_file(path, made + "\n", 0o600)
    except (OSError, ValueError) as error:
        log.warning("the machine's SID cannot be kept in %s: %s", path, error)
        return _derived()
    return made


def _is_sid(text: str) -> bool:
    match = _SID.fullmatch(text)
    return match is not None and all(int(each) < 1 << 32 for each in match.groups())


def _sid(data: bytes) -> str:
    """Return a SID with three numbers of 12 bytes."""
    numbers = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4, 8))
    return "S-1-5-21-" + "-".join(map(str, numbers))


def _derived() -> str:
    """Return a SID that the machine's id gives; without one, another at every start."""
    try:
        seed = _MACHINE_ID.read_bytes()
    except OSError:
        seed = secrets.token_bytes(16)
    return _sid(hashlib.sha256(b"usmbd machine SID" + seed).digest())
