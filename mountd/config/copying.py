"""`copy = NAME` in a share: it says what the section NAME does, but for what it says itself.

As with Samba (smb.conf(5)) that section stands before, and `available = no` is copied too.
"""

from typing import Final

from usmbd.mountd.config.parameters import SHARES
from usmbd.mountd.config.source import GLOBAL, Entry, Section, Source, parameter_key, share_key

COPY: Final = "copy"


def copy_sections(source: Source) -> None:
    """Give sections what they copy; what cannot be copied is among the errors."""
    before: dict[str, Section] = {}
    for key, section in source.sections.items():
        if key == GLOBAL:
            continue
        wanted = [entry for entry in section.entries if parameter_key(entry.name) == COPY]
        section.entries = [entry for entry in section.entries if entry not in wanted]
        for entry in wanted:
            other = before.get(share_key(str(entry.value)))
            if other is None:
                why = f"no section [{entry.value}] stands before [{section.name}]"
                source.errors.append(entry.error(f"{entry.name} = {entry.value}: {why}"))
                continue
            said = {_meaning(each) for each in section.entries}
            section.entries += [each for each in other.entries if _meaning(each) not in said]
        before[key] = section


def _meaning(entry: Entry) -> str:
    """Return which parameter an entry is about, by whatever name."""
    key = parameter_key(entry.name)
    return SHARES[key].name if key in SHARES else key
