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

from pathlib import Path

import yaml

from usmbd.mountd.config.source import GLOBAL, Entry, Raw, Section, Source, share_key
from usmbd.mountd.errors import ConfigError


def parse(text: str, path: Path, source: Source) -> None:
    """Add what the YAML text says to `source`; ConfigError where it is malformed."""
    file = str(path)
    for name, line, node in _items(_compose(text, file), file, "the file"):
        if name == GLOBAL:
            _entries(node, source.section(GLOBAL, file, line))
        elif name == "shares":
            for share, share_line, options in _items(node, file, "shares"):
                if share_key(share) in source.sections:
                    raise ConfigError(file, share_line, f"the share {share!r} occurs twice")
                _entries(options, source.section(share, file, share_line))
        else:
            raise ConfigError(file, line, f"{name!r} is not known here: only global and shares")


def _compose(text: str, file: str) -> yaml.Node | None:
    """Return the document's root node, None for an empty document."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(file, line, error.problem or "not YAML") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(file, 0, f"not YAML: {error}") from error


def _items(node: yaml.Node | None, file: str, what: str) -> list[tuple[str, int, yaml.Node]]:
    """Return a mapping's keys with their lines and values; nothing for null."""
    if node is None or _is_null(node):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(file, node.start_mark.line + 1, f"{what} must be a mapping")
    items: dict[str, tuple[str, int, yaml.Node]] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(file, line, "a key must be text")
        if key.value in items:
            raise ConfigError(file, line, f"{key.value!r} occurs twice")
        items[key.value] = (key.value, line, value)
    return list(items.values())


def _entries(node: yaml.Node, section: Section) -> None:
    """Add a mapping's parameters to the section."""
    for name, line, value in _items(node, section.file, section.name):
        section.entries.append(Entry(name, _raw(value, section.file, line), section.file, line))


def _raw(node: yaml.Node, file: str, line: int) -> Raw:
    """Return a scalar's text or a sequence's texts."""
    if _is_null(node):
        return ""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode) and all(
        isinstance(item, yaml.ScalarNode) for item in node.value
    ):
        return [str(item.value) for item in node.value]
    raise ConfigError(file, line, "a value must be text or a list of texts")


def _is_null(node: yaml.Node) -> bool:
    """Return whether the node is YAML's null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
