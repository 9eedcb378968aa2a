"""Changes to a configuration file's text: one share added, changed or removed.

Everything else in the file stays as it is, comments and layout too (ksmbd.addshare writes the
file anew and loses them). In a section that is changed, a parameter's line is replaced where it
stands, whatever synonym it was written with. What the result says of the options is what was asked
for, or it is refused. The result is a text: whoever asked for it checks the rest with `load` before
it is written.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from usmbd.mountd.config import ini
from usmbd.mountd.config.choose import Chooser
from usmbd.mountd.config.copying import COPY
from usmbd.mountd.config.parameters import Parameter, find, shown
from usmbd.mountd.config.reading import read_source
from usmbd.mountd.config.samba import Foreign
from usmbd.mountd.config.source import GLOBAL, Entry, parameter_key, share_key
from usmbd.mountd.errors import ConfigError

LINE_WIDTH = 1 << 16
"""Columns of a YAML file's line: a longer one is not folded, which would change it."""

Options = list[tuple[str, str]]
"""Names and values as given; an empty value removes the parameter's line."""


def parse_option(text: str) -> tuple[str, str]:
    """Return the name and the value of `NAME = VALUE`; ValueError when it is not that."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or "\n" in text:
        raise ValueError(f"{text!r} is not NAME = VALUE")
    return name.strip(), value.strip()


def has_share(text: str, path: Path, share: str) -> bool:
    """Return whether there is such a share; ValueError when an included file has it."""
    section = read_source(path, text).sections.get(share_key(share))
    if section is not None and section.file != str(path):
        raise ValueError(f"[{share}] is in the included file {section.file}: change it there")
    return section is not None


def set_options(text: str, path: Path, share: str, options: Options) -> str:
    """Return the text with the share (or `global`) having the options, made when it is new.

    ConfigError where the file would not say them. Values that are wrong are `load`'s to refuse.
    """
    single = _single(options, share)

    def change(text: str) -> str:
        if path.suffix in (".yaml", ".yml"):
            return _set_yaml(text, share, single)
        return _set_ini(text, path, share, single)

    result = _with_its_ends(text, change)
    _check(result, path, share, single)
    return result


def _with_its_ends(text: str, change: Callable[[str], str]) -> str:
    """Change a text whose lines may all end as Windows' do; they all do so afterwards."""
    if 0 < text.count("\r\n") == text.count("\n"):
        return change(text.replace("\r\n", "\n")).replace("\n", "\r\n")
    return change(text)


def _single(options: Options, share: str) -> Options:
    """Return the options, one for each parameter; ConfigError where two say different things."""
    found: dict[str, tuple[Entry, object]] = {}
    for name, value in options:
        entry, row = _row(name, value, share)
        if not value.replace("\t", " ").isprintable():
            raise entry.error(f"{name} = {value!r}: it has characters that no line can hold")
        meaning = (bool(value), _meaning(row, entry))
        first, known = found.setdefault(row.name, (entry, meaning))
        if meaning != known:
            raise entry.error(f"{name!r} says something else than {first.name!r} before: keep one")
    return [(entry.name, str(entry.value)) for entry, _ in found.values()]


def written(entry: Entry, row: Parameter | Foreign) -> str:
    """Return a value as a line of ksmbd.conf's syntax says it, in quotes if it has to be."""
    value = str(entry.value)
    for text in (value, f'"{value}"'):
        back = ini.read_back(text)
        if back is not None and _meaning(row, replace(entry, value=back)) == _meaning(row, entry):
            return text
    raise entry.error(
        f"{entry.name} = {value!r}: a line cannot say that: part the words of a list by commas, and"
        " have no quotes in a value with ` ;`, ` #` or a backslash at its end"
    )


def _meaning(row: Parameter | Foreign, entry: Entry) -> object:
    """Return what a value means, and what it is where it means nothing."""
    if isinstance(row, Parameter):
        with contextlib.suppress(ConfigError):
            value = row.value(entry)
            return type(value), value
    return str(entry.value).strip('"')


def _check(text: str, path: Path, share: str, options: Options) -> None:
    """Refuse a text that does not say the options, because another line or file says otherwise."""
    section = read_source(path, text).sections.get(share_key(share))
    if section is None:
        raise ValueError(f"the file cannot name a share {share!r}: take another name")
    is_global = share_key(share) == GLOBAL
    chosen = Chooser().choose(section, in_global=is_global)
    there = {parameter_key(entry.name) for entry in section.entries}
    for name, value in options:
        asked = Entry(name, value, "the option", 0)
        row = find(asked, in_global=is_global)
        if value and parameter_key(name) not in there:
            if parameter_key(name) in (COPY, "include"):
                raise asked.error(f"{name} = {value}: it stands for other lines: edit the file")
            raise asked.error(f"{name} = {value}: the line would be a part of the one before it")
        said = chosen.get(row.name)
        if said is None or _meaning(row, said[1]) == _meaning(row, asked):
            continue
        if value or said[1].file != str(path):
            raise said[1].error(
                f"{said[1].name} = {shown(said[1].value)} would hold: change it here"
            )


def remove_share(text: str, path: Path, share: str) -> str:
    """Return the text without the share."""
    return _with_its_ends(text, lambda text: _without_share(text, path, share))


def _without_share(text: str, path: Path, share: str) -> str:
    if path.suffix in (".yaml", ".yml"):
        data = _yaml_data(text)
        shares = _mapping(data, "shares")
        for key in [k for k in shares if share_key(str(k)) == share_key(share)]:
            del shares[key]
        if not shares:  # nothing would stand below it but comments
            del data["shares"]
        return _yaml_text(data)
    lines = list(_ini_lines(text, share))
    kept = [line for line, inside, _ in lines if not inside]
    _, ends_inside, _ = lines[-1]
    return "\n".join([*kept, ""] if ends_inside else kept)


def _ini_lines(text: str, share: str) -> Iterator[tuple[str, bool, bool]]:
    """Yield the lines: each, whether it is of the share, whether it continues the line before."""
    starts = {number for number, _ in ini.logical_lines(text)}
    inside = False
    for number, line in enumerate(text.split("\n"), start=1):
        name = _section_name(line) if number in starts else None
        if name is not None:
            inside = share_key(name) == share_key(share)
        yield line, inside, number not in starts


def _section_name(line: str) -> str | None:
    """Return the name of a section's first line."""
    stripped = line.strip()
    return stripped[1:].partition("]")[0].strip() if stripped.startswith("[") else None


def _row(name: str, value: str, share: str) -> tuple[Entry, Parameter | Foreign]:
    """Return an option, and the table's (or Samba's) parameter; ConfigError when it has none."""
    entry = Entry(name, value, "the option", 0)
    row = find(entry, in_global=share_key(share) == GLOBAL)
    if isinstance(row, Foreign) and row.misplaced:
        raise entry.error(f"{name}: {row.reason}")
    return entry, row


def _written_name(name: str, share: str) -> str:
    """Return the name of what stands in the file, which may be wrong elsewhere."""
    with contextlib.suppress(ConfigError):
        return _row(name, "", share)[1].name
    return name


def _set_ini(text: str, path: Path, share: str, options: Options) -> str:
    """Change lines of ksmbd.conf's syntax."""
    asked = [_row(name, value, share) for name, value in options]
    wanted = {row.name: (entry, row) for entry, row in asked}
    result: list[str] = []
    # Where a new line of the section goes: behind its last line that is not empty.
    insert_at = -1
    dropping = False
    for line, inside, continues in _ini_lines(text, share):
        if continues:  # and shares the fate of the line before
            if not dropping:
                result.append(line)
                insert_at = len(result) if inside else insert_at
            continue
        dropping = False
        if inside and _section_name(line) is None and "=" in line and line.strip()[0] not in ";#":
            said = line.partition("=")[0].strip()
            row = "" if parameter_key(said) == "include" else _written_name(said, share)
            if row in wanted:
                dropping = True
                continue
        result.append(line)
        if inside and line.strip():
            insert_at = len(result)
    new = [f"\t{one.name} = {written(one, row)}" for one, row in wanted.values() if one.value]
    if insert_at < 0:
        while result and not result[-1].strip():
            result.pop()
        result += ([""] if result else []) + [f"[{share}]", *new, ""]
    else:
        ends = (
            [""] if result[insert_at - 1].rstrip().endswith("\\") else []
        )  # it went on, to nowhere
        result[insert_at:insert_at] = [*ends, *new]
    return "\n".join(result)


class _Written(str):
    """A number, a date or the like as it is written: the configuration's values are texts."""

    tag: str


class _Constructor(RoundTripConstructor):
    """Takes scalars as texts, keys among them: a share may be called 0815."""

    def written(self, node: ScalarNode) -> _Written:
        """Return a scalar's text, which knows what it would be."""
        text = _Written(node.value)
        text.tag = str(node.tag)
        return text


class _Representer(RoundTripRepresenter):
    """Writes them without quotes, as they stood."""

    def written(self, text: _Written) -> ScalarNode:
        """Return the scalar that the text was."""
        scalar: ScalarNode = self.represent_scalar(text.tag, str(text))
        return scalar


for _kind in ("bool", "float", "int", "null", "timestamp"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_kind}", _Constructor.written)
_Representer.add_representer(_Written, _Representer.written)


def _yaml() -> YAML:
    """Return a reader and writer that keeps comments, order, quotes and flow style."""
    yaml = YAML()
    yaml.Constructor, yaml.Representer = _Constructor, _Representer
    yaml.preserve_quotes = True
    yaml.width = LINE_WIDTH
    return yaml


def _yaml_data(text: str) -> CommentedMap:
    """Return the YAML document with all that is between its values."""
    try:
        data = _yaml().load(text)
    except YAMLError as error:
        raise ValueError(f"the file is not YAML that can be changed: {error}") from error
    return data if isinstance(data, CommentedMap) else CommentedMap()


def _yaml_text(data: CommentedMap) -> str:
    """Return the document's text."""
    written = io.StringIO()
    _yaml().dump(data, written)
    return written.getvalue()


def _mapping(data: CommentedMap, key: str) -> CommentedMap:
    """Return what is below a key, a mapping; it is made where it is none."""
    found = data.get(key)
    if not isinstance(found, CommentedMap):
        found = data[key] = CommentedMap()
    return found


def _set_yaml(text: str, share: str, options: Options) -> str:
    """Change a YAML document."""
    data = _yaml_data(text)
    if share_key(share) == GLOBAL:
        section = _mapping(data, GLOBAL)
    else:
        shares = _mapping(data, "shares")
        key = next((k for k in shares if share_key(str(k)) == share_key(share)), share)
        section = _mapping(shares, key)
    for name, value in options:
        row = _row(name, value, share)[1].name
        there = [k for k in section if _written_name(str(k), share) == row]
        if value and any(parameter_key(str(old)) == parameter_key(name) for old in there[:1]):
            name = there.pop(0)
        place = list(section).index(there[0]) if there else len(section)
        for old in there:
            del section[old]
        if value and name in section:  # with its comment
            section[name] = value
        elif value:  # a synonym may mean the opposite
            section.insert(place, name, value)
    return _yaml_text(data)
