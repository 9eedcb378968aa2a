"""A configuration's sections and entries, whatever the form of its file."""

from pathlib import Path

from usmbd.mountd import paths
from usmbd.mountd.config import ini
from usmbd.mountd.config.choose import Chooser
from usmbd.mountd.config.copying import copy_sections
from usmbd.mountd.config.source import GLOBAL, Section, Source, read_text


def read_source(path: Path, text: str | None = None) -> Source:
    """Read the file's syntax by its suffix: .yaml and .yml are YAML, all else ksmbd.conf's.

    ConfigError for YAML that is malformed; what is malformed in the other is in `errors`.
    """
    source = Source()
    parse = ini.parse
    if path.suffix in (".yaml", ".yml"):
        # Imported here: the library is a twentieth of what a start imports.
        from usmbd.mountd.config.yaml_file import parse
    parse(read_text(path) if text is None else text, path, source)
    copy_sections(source)
    return source


def state_directory_of(path: Path) -> Path:
    """Return where the server of a file is found, whatever else is wrong in the file.

    ConfigError when the file cannot be read.
    """
    section = read_source(path).sections.get(GLOBAL, Section(GLOBAL, str(path), 0))
    said = Chooser().choose(section, in_global=True).get("state directory")
    return Path(said[0].value(said[1])) if said is not None else paths.state_directory()
