"""What the tools share: their options, their errors, their exit codes."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from usmbd.mountd import lockfile, paths
from usmbd.mountd.config.load import Configuration
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import CodecError, mountd_client
from usmbd.mountd.ipc.messages import MOUNTD_SOCKET, Failed, ReloadRequest, ReloadResponse
from usmbd.mountd.ipc.version import ShowVersion
from usmbd.mountd.lockfile import AlreadyRunningError
from usmbd.mountd.remarks import remarks
from usmbd.mountd.users import UserTable
from usmbd.mountd.usershares import without_share

EXIT_FAILURE = 1
EXIT_CONFIG = 2
"""The configuration, the password file or the command line cannot be used."""

RELOAD_SECONDS = 60.0
"""How long a server may read its files: of thousands of shares, on a machine that is busy."""


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every tool has: -C, -P, -v, -V, -h."""
    result = argparse.ArgumentParser(prog=name, description=description, allow_abbrev=False)
    result.add_argument(
        "-C",
        "--config",
        metavar="CONF",
        type=Path,
        help=f"the configuration file (default: {paths.config_file()})",
    )
    result.add_argument(
        "-P",
        "--pwddb",
        metavar="PWDDB",
        type=Path,
        help=f"the password file (default: {paths.password_file()}; {paths.password_file().name}"
        " beside CONF where -C names one)",
    )
    result.add_argument("-v", "--verbose", action="store_true", help="say more")
    result.add_argument(
        "-V", "--version", action=ShowVersion, nargs=0, help="say which usmbd this is"
    )
    return result


def files(options: argparse.Namespace) -> tuple[Path, Path]:
    """Return the configuration's and the password file's path, absolute.

    A password file that is not named lies beside a configuration that is. ConfigError where one
    that is named is a folder.
    """
    for option, named in (("-C", options.config), ("-P", options.pwddb)):
        if named is not None and named.is_dir():
            raise ConfigError(str(named), 0, f"it is a folder; {option} names a file")
    config = options.config or paths.config_file()
    if options.pwddb is not None:
        return config.absolute(), options.pwddb.absolute()
    if options.config is None:
        return config.absolute(), paths.password_file().absolute()
    return config.absolute(), paths.password_file(config.absolute().parent)


def warn(configuration: Configuration | None, passwords: Path, users: UserTable | None) -> None:
    """Say what has to be known of the files."""
    for warning in remarks(configuration, passwords, users):
        print(f"warning: {warning}", file=sys.stderr)
    for warning in without_share(configuration) if configuration is not None else ():
        print(f"warning: {warning}", file=sys.stderr)


def port(text: str) -> int:
    """Return a TCP port of the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return int(text)


def say_new(path: Path) -> None:
    """Say that a file is going to be made: the path may be mistyped."""
    if not path.exists():
        print(f"{path} is made: there was no such file", file=sys.stderr)


def of_others(directory: Path, config: Path) -> str:
    """Return why the server in a directory is not that of `config`; "" when it is, or none runs."""
    server = lockfile.find(directory)
    if server is None or server.config == config or server.config.resolve() == config.resolve():
        return ""
    return f"the server in {directory} has other files: -C {server.config} means it"


def make_folder(path: Path, *, named: bool) -> None:
    """Make the folder of a file; where the command line names the file, it has to be there.

    A mistyped path would be made otherwise. ValueError.
    """
    if named and not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    path.parent.mkdir(parents=True, exist_ok=True)


def reload(directory: Path) -> ReloadResponse | None:
    """Have the running mountd read its files again; None when none runs or it may not be told."""
    try:
        client = BlockingClient(directory / MOUNTD_SOCKET, mountd_client(), RELOAD_SECONDS)
    except (FileNotFoundError, ConnectionRefusedError, PermissionError):
        # One that is only being started has read them, or does so again.
        return ReloadResponse() if lockfile.tell_to_reload(directory) else None
    try:
        answer = client.request(ReloadRequest())
    except TimeoutError as error:
        raise ValueError(f"the server in {directory} does not say whether it uses this") from error
    finally:
        client.close()
    if isinstance(answer, ReloadResponse):
        return answer
    why = answer.reason if isinstance(answer, Failed) else type(answer).__name__
    raise ValueError(f"the server in {directory}: {why}")


def say_whether_told(
    directory: Path | None, config: Path, *, verbose: bool, users: bool = False
) -> int:
    """Have the running server read its files, and say so where it did not; return an exit code.

    `users`: it is enough when the server takes over the users.
    """
    if directory is not None and (other := of_others(directory, config)):
        print(f"{other}; it was not told", file=sys.stderr)
    elif directory is not None and (answer := reload(directory)):
        if answer.refused:
            goes_on = f"the server in {directory} goes on with what it had"
            if not (users and answer.users):
                return fail(f"{goes_on}: {answer.refused}", EXIT_CONFIG)
            print(f"warning: {goes_on}, but for its users: {answer.refused}", file=sys.stderr)
        elif verbose:
            print("the server was told")
    elif directory is None:
        print(f"{config} cannot be read: no server was told", file=sys.stderr)
    elif lockfile.running(directory) is None:
        print(f"no server runs in {directory}: it counts from the next start on", file=sys.stderr)
    else:
        note = "belongs to another user and was not told (usmbd.control -r as him)"
        print(f"the server in {directory} {note}", file=sys.stderr)
    return 0


OWN_FILES = "as root (sudo), or -C and -P for your own files"


def hint(error: BaseException | None, own: str = OWN_FILES) -> str:
    """Return what to do about a file that may not be read or written; `own`: without root."""
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return f": {own}"
    return ""


def advised(error: ConfigError, own: str = OWN_FILES) -> str:
    """Return what is wrong with a file, and what to do where it is not there or not one's own."""
    missing = isinstance(error.__cause__, FileNotFoundError)
    if missing and error.file == str(paths.config_file()):
        return f"{error}: `make serve` makes one, -C names another"
    return f"{error}{hint(error.__cause__, own)}"


def run(main: Callable[[list[str]], int], arguments: list[str] | None, own: str = OWN_FILES) -> int:
    """Run a tool; turn the errors that a user can cause into a line and an exit code."""
    try:
        return main(sys.argv[1:] if arguments is None else arguments)
    except ConfigError as error:
        return fail(advised(error, own), EXIT_CONFIG)
    except (AlreadyRunningError, CodecError, ValueError) as error:
        return fail(str(error), EXIT_FAILURE)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}{hint(error, own)}", EXIT_FAILURE)
    except EOFError:  # ^D where something was to be typed, behind the prompt
        return fail("\nnothing is typed, and nothing is changed", EXIT_FAILURE)
    except KeyboardInterrupt:
        return 130


def fail(message: str, code: int) -> int:
    """Say what is wrong and return the exit code."""
    print(message, file=sys.stderr)
    return code
