"""What a user's account is beside its password: how old that is, and whether it lets him in.

The password file has a line of its own for it, a comment for ksmbd, with smbpasswd(5)'s words:

    #@alice:[DX]:LCT-65F0AB12:KO-67000000:FN-Alice%20A.:DE-the%20first

Behind the times stand the texts that administrators have set, as in URLs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, unquote

from usmbd.mountd.ipc.messages import LoginStatus
from usmbd.mountd.ipc.users import MAX_TEXT, Texts

MARK: Final = "#@"
"""What such a line begins with."""

DAY: Final = 86400

NO_TEXTS: Final = Texts()

_TEXTS: Final = {
    "FN": "full_name",
    "DE": "description",
    "CO": "comment",
    "HO": "home",
    "HD": "home_drive",
    "SC": "script",
    "PR": "profile",
}
_LINE = re.compile(
    r"([^:]+):\[([DXM]*)\]:LCT-([0-9A-F]{8})(?::KO-([0-9A-F]{8}))?"
    rf"((?::(?:{'|'.join(_TEXTS)})-[^:\s]*)*)"
)


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What is known of an account; as it is made, nothing keeps anybody out."""

    changed: int = 0
    """When the password was last changed (LCT), in seconds since 1970; 0: nobody knows."""
    disabled: bool = False
    """D: nobody logs in."""
    lasting: bool = False
    """X: the password's age does not matter."""
    must_change: bool = False
    """M: the password is to be changed before anything else."""
    ends: int = 0
    """When the account ends (Samba's kickoff time); 0: never."""
    texts: Texts = NO_TEXTS
    """What administrators say of him."""


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """What holds for all passwords, in seconds; 0: nothing does."""

    maximum_age: int = 0
    """`maximum password age`."""
    minimum_age: int = 0
    """`minimum password age`."""

    @classmethod
    def of(cls, values: Mapping[str, int]) -> Self:
        """Return what the configuration says, in days."""
        return cls(values["maximum password age"] * DAY, values["minimum password age"] * DAY)

    def expiry(self, facts: AccountFacts) -> int:
        """Return when a password expires; 0: never, also where nobody knows its age."""
        if facts.lasting or not (self.maximum_age and facts.changed):
            return 0
        return facts.changed + self.maximum_age

    def refusal(self, facts: AccountFacts, now: float) -> LoginStatus | None:
        """Return why who has the right password does not log in; None: he does."""
        if (ended := closed(facts, now)) is not None:
            return ended
        if facts.must_change:
            return LoginStatus.PASSWORD_MUST_CHANGE
        expiry = self.expiry(facts)
        return LoginStatus.PASSWORD_EXPIRED if expiry and now >= expiry else None

    def is_too_young(self, facts: AccountFacts, now: float) -> bool:
        """Tell whether a user may not change his password yet."""
        if facts.must_change or not self.minimum_age:
            return False
        return 0 <= now - facts.changed < self.minimum_age  # and not of a clock that was put back


def closed(facts: AccountFacts, now: float) -> LoginStatus | None:
    """Return why an account lets nobody in, by whatever proof; None: it does."""
    if facts.disabled:
        return LoginStatus.ACCOUNT_DISABLED
    if facts.ends and now >= facts.ends:
        return LoginStatus.ACCOUNT_EXPIRED
    return None


NOTHING_KNOWN: Final = AccountFacts()


def parse_facts(line: str) -> tuple[str, AccountFacts]:
    """Return whose facts a line tells, and which; ValueError when it is malformed."""
    match = _LINE.fullmatch(line.removeprefix(MARK))
    if match is None:
        raise ValueError(f"the line is not {MARK}NAME:[DXM]:LCT-TIME or {MARK}NAME:...:KO-TIME")
    name, flags, changed, ends, texts = match.groups()
    parts = (each.partition("-") for each in texts.split(":")[1:])
    said = {_TEXTS[key]: unquote(value)[:MAX_TEXT] for key, _, value in parts}
    return name, AccountFacts(
        changed=int(changed, 16),
        disabled="D" in flags,
        lasting="X" in flags,
        must_change="M" in flags,
        ends=int(ends or "0", 16),
        texts=Texts(**said) if said else NO_TEXTS,
    )


def format_facts(name: str, facts: AccountFacts) -> str:
    """Return the line, with its end; none where there is nothing to say."""
    if facts == NOTHING_KNOWN:
        return ""
    flags = "".join(
        letter
        for letter, said in (("D", facts.disabled), ("X", facts.lasting), ("M", facts.must_change))
        if said
    )
    ends = f":KO-{facts.ends:08X}" if facts.ends else ""
    texts = "".join(
        f":{key}-{quote(text)}"
        for key, field in _TEXTS.items()
        if (text := getattr(facts.texts, field))
    )
    return f"{MARK}{name}:[{flags}]:LCT-{facts.changed:08X}{ends}{texts}\n"
