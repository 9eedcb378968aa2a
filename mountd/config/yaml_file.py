"""The YAML form: the same parameters, as mappings.

An example::

    global:
      workgroup: OFFICE
    shares:
      data:
        path: /srv/data
        valid users: [alice, "@staff"]

Scalars are taken as they are written (`0744` stays octal, `yes` stays yes), and every value
keeps its line. Two levels of mappings are read, never more, so that aliases cannot multiply.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml
from yaml.composer import ComposerError

from usmbd.mountd.config.source import GLOBAL, Entry, Raw, Section, Source, share_key
from usmbd.mountd.errors import ConfigError


def parse(text: str, path: Path, source: Source) -> None:
    """Add what the YAML text says to `source`, with its errors; ConfigError where it is no YAML."""
    _Reader(str(path), source).read(_compose(text, str(path)))


def _compose(text: str, file: str) -> yaml.Node | None:
    """Return the document's root node, None for an empty document."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        said = [error.problem or "not YAML"]
        if isinstance(error, ComposerError) and error.context:
            said.insert(0, error.context)  # the first half of the sentence
        raise ConfigError(file, line, ", ".join(said)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(file, 0, f"not YAML: {error}") from error


class _Reader:
    """One pass over the nodes; what is wrong is noted, and the rest is read."""

    def __init__(self, file: str, source: Source) -> None:
        self._file = file
        self._source = source

    def read(self, root: yaml.Node | None) -> None:
        """Take the document."""
        source = self._source
        for name, line, node in self._items(root, "the file"):
            if name == GLOBAL:
                self._entries(node, source.section(GLOBAL, self._file, line))
            elif name == "shares":
                for share, share_line, options in self._items(node, "shares"):
                    if share_key(share) == GLOBAL:
                        why = f"{share!r} is no share: its place is beside `shares`"
                        self._wrong(share_line, why)
                    elif share_key(share) in source.sections:
                        self._wrong(share_line, f"the share {share!r} occurs twice")
                    elif self._is_mapping(options, share):
                        self._entries(options, source.section(share, self._file, share_line))
            else:
                self._wrong(line, f"{name!r} is not known here: only global and shares")

    def _wrong(self, line: int, why: str) -> None:
        """Note an error."""
        self._source.errors.append(ConfigError(self._file, line, why))

    def _is_mapping(self, node: yaml.Node | None, what: str) -> bool:
        """Return whether there is a mapping, or nothing, which stands for an empty one."""
        if node is None or _is_null(node) or isinstance(node, yaml.MappingNode):
            return True
        self._wrong(node.start_mark.line + 1, f"{what} must be a mapping")
        return False

    def _items(self, node: yaml.Node | None, what: str) -> Iterator[tuple[str, int, yaml.Node]]:
        """Yield a mapping's keys with their lines and values; nothing for null."""
        if not self._is_mapping(node, what) or not isinstance(node, yaml.MappingNode):
            return
        there = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(line, "a key must be text")
            elif key.value in there:
                self._wrong(line, f"{key.value!r} occurs twice")
            else:
                there.add(key.value)
                yield key.value, line, value

    def _entries(self, node: yaml.Node, section: Section) -> None:
        """Add a mapping's parameters to the section."""
        for name, line, value in self._items(node, section.name):
            raw = _raw(value)
            if raw is None:
                self._wrong(line, f"{name}: a value must be text or a list of texts")
            else:
                section.entries.append(Entry(name, raw, section.file, line))


def _raw(node: yaml.Node) -> Raw | None:
    """Return a scalar's text or a sequence's texts; None of what is neither."""
    if _is_null(node):
        return ""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(
        isinstance(item, yaml.ScalarNode) for item in node.value
    ):
        return [str(item.value) for item in node.value]
    return None


def _is_null(node: yaml.Node) -> bool:
    """Return whether the node is YAML's null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
