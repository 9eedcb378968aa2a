"""`usmbd.addshare`: add, change and delete shares of the configuration (ksmbd.addshare's options).

Nothing is written that the server could not read: the changed text is checked first.
"""

import argparse
import contextlib
import shlex
import sys
from pathlib import Path

from usmbd.mountd import lockfile
from usmbd.mountd.cli import common
from usmbd.mountd.config.edit import has_share, parse_option, remove_share, set_options
from usmbd.mountd.config.load import Configuration, check_share_name, load
from usmbd.mountd.config.source import GLOBAL, read_text, share_key
from usmbd.mountd.errors import ConfigError, ConfigErrors, all_of
from usmbd.mountd.exposure import exposed
from usmbd.mountd.users import locked, replace_file


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = common.parser("usmbd.addshare", "Add, update or delete a share.")
    action = parser.add_mutually_exclusive_group()
    for letter, name in (("a", "add"), ("u", "update"), ("d", "delete")):
        action.add_argument(
            f"-{letter}",
            f"--{name}",
            dest="action",
            const=name,
            action="store_const",
            help=f"{name} the share (default: add, or update if it is there)",
        )
    parser.add_argument(
        "-o",
        "--option",
        metavar="OPT",
        action="append",
        default=[],
        help='a parameter, as "NAME = VALUE"; an empty value removes it; may be repeated',
    )
    parser.add_argument(
        "share", metavar="SHARE", help="1 to 63 bytes, in any case; or global, to update it"
    )
    options = parser.parse_args(arguments)
    if options.action == "delete" and options.option:
        parser.error("--option does not go with --delete")
    try:
        if share_key(options.share) != GLOBAL:
            check_share_name(options.share)
        for option in options.option or ():
            parse_option(option)
    except ValueError as error:
        parser.error(str(error))
    return options


def ask_options() -> list[str]:
    """Return the lines that are typed (or piped) until an empty one."""
    if sys.stdin.isatty():
        print("Parameters as NAME = VALUE, an empty line ends:", file=sys.stderr)
    lines = []
    for line in sys.stdin:
        if not line.strip():
            break
        lines.append(line.strip())
    return lines


def changed(text: str, path: Path, options: argparse.Namespace) -> str:
    """Return the configuration's text after the change; ValueError when it makes no sense."""
    share, action = options.share, options.action
    is_global = share_key(share) == GLOBAL
    exists = has_share(text, path, share)
    if action == "add" and exists:
        raise ValueError(f"the share {share!r} is there already")
    if action in ("update", "delete") and not exists:
        raise ValueError(f"there is no share {share!r}")
    if action == "delete":
        if is_global:
            raise ValueError("global is not a share and cannot be deleted")
        return remove_share(text, path, share)
    given = options.option or ask_options()
    if not given and exists:
        raise ValueError(f"nothing is said that {share!r} is to have (-o 'NAME = VALUE')")
    return set_options(text, path, share, [parse_option(option) for option in given])


def at_the_options(error: ConfigError, config: Path, before: str, after: str) -> ConfigErrors:
    """Return the errors of a text that is not the file: what is new there is an option's."""
    lines, old = after.split("\n"), set(before.split("\n"))

    def placed(one: ConfigError) -> ConfigError:
        of_option = one.file == str(config) and one.line and lines[one.line - 1] not in old
        return ConfigError("the option", 0, one.message) if of_option else one

    return ConfigErrors([placed(one) for one in all_of(error)])


def check_directory(config: Path, new: Path) -> None:
    """Refuse to have the tools look for the server of a file where it does not run."""
    with contextlib.suppress(ConfigError):  # what is there now may be what has to be mended
        old = Path(load(config).server.state_directory)
        if old != new and lockfile.running(old) is not None and not common.of_others(old, config):
            raise ValueError(f"a server runs in {old}: end it first (usmbd.control -s)")


def warnings_of(configuration: Configuration, passwords: Path) -> dict[str, str]:
    """Return what has to be known of the files, each by what a change of other lines leaves."""
    said = {without_line(warning): warning for warning in configuration.warnings}
    return said | {warning: warning for warning in exposed(configuration, passwords)}


def known_before(config: Path, text: str, passwords: Path) -> dict[str, str]:
    """Return what had to be known of the files before the change."""
    with contextlib.suppress(ConfigError):
        return warnings_of(load(config, text), passwords)
    return {}


def without_line(warning: str) -> str:
    """Return a warning without `file:line: `, which a change moves."""
    return warning.partition(": ")[2]


def run(arguments: list[str]) -> int:
    """Change the file and tell a running mountd."""
    options = parse_arguments(arguments)
    config, passwords = common.files(options)
    common.make_folder(config, named=options.config is not None)
    common.say_new(config)
    with locked(config):
        text = read_text(config) if config.exists() else ""
        result = changed(text, config, options)
        try:
            configuration = load(config, result)
        except ConfigError as error:
            raise at_the_options(error, config, text, result) from error
        # Who writes a share by a tool means to have it; the file may spell it in another case.
        without_path = f"the share [{options.share}] has no path"
        if any(share_key(without_path) in share_key(said) for said in configuration.warnings):
            raise ConfigError("the option", 0, f"{without_path}: path = /folder")
        check_directory(config, Path(configuration.server.state_directory))
        known = known_before(config, text, passwords)
        for what, warning in warnings_of(configuration, passwords).items():
            if what not in known:
                print(f"warning: {warning}", file=sys.stderr)
        mode = config.stat().st_mode & 0o777 if config.exists() else 0o644
        # A link to the real file stays a link.
        replace_file(config.resolve(), result, mode)
    if options.verbose:
        print(f"{config}: [{options.share}] written")
    directory = Path(configuration.server.state_directory)
    code = common.say_whether_told(directory, config, verbose=options.verbose)
    runs = lockfile.supervisor(directory) is not None and not common.of_others(directory, config)
    if not code and runs and share_key(options.share) == GLOBAL:
        named = "" if options.config is None else f" -C {shlex.quote(str(config))}"
        print(f"connections have it after usmbd.control{named} -r", file=sys.stderr)
    return code


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return common.run(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
