"""`usmbd.control`: end, reload, look at and debug a running server (ksmbd.control's options).

`--check` is about the files alone, as Samba's testparm.

It speaks to the supervisor over `control.sock`; where mountd runs alone, --reload and
--shutdown go to mountd itself.
"""

import argparse
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import msgspec

from usmbd.mountd import lockfile, paths
from usmbd.mountd.cli import common
from usmbd.mountd.config import show as show_config
from usmbd.mountd.config.load import Configuration, load
from usmbd.mountd.config.reading import state_directory_of
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import control_client, mountd_client
from usmbd.mountd.ipc.messages import (
    CONTROL_SOCKET,
    MOUNTD_SOCKET,
    ControlDebug,
    ControlDone,
    ControlError,
    ControlList,
    ControlReload,
    ControlResponse,
    ControlRows,
    ControlShutdown,
    ControlVersion,
    ControlVersionInfo,
    LimitRow,
    LimitsRequest,
    LimitsResponse,
    ListKind,
    Message,
    Row,
)
from usmbd.mountd.kerberos.offer import offered
from usmbd.mountd.log import AREAS
from usmbd.mountd.users import UserTable, load_users

DEBUG_AREAS = ("all", *AREAS)
TABLES: list[ListKind] = [
    ListKind.WORKERS,
    ListKind.SESSIONS,
    ListKind.CONNECTIONS,
    ListKind.OPENS,
]
"""What `--list` shows when it is not told what."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = common.parser("usmbd.control", "Control a running server.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("-s", "--shutdown", action="store_true", help="end the server")
    action.add_argument("-r", "--reload", action="store_true", help="read the files again")
    action.add_argument(
        "-l",
        "--list",
        metavar="KIND",
        nargs="?",
        const="all",
        choices=("all", *(kind.value for kind in ListKind)),
        help=f"list one of {', '.join(ListKind)}; without it all but rdma and limits",
    )
    action.add_argument(
        "--rdma",
        dest="list",
        action="store_const",
        const=ListKind.RDMA.value,
        help="whether RDMA is used, by interface and by connection, and if not why (--list rdma)",
    )
    action.add_argument(
        "--limits",
        dest="list",
        action="store_const",
        const=ListKind.LIMITS.value,
        help="each limit, where it comes from, and what is used of it by now (--list limits)",
    )
    action.add_argument(
        "-d",
        "--debug",
        metavar="COMPONENT",
        choices=DEBUG_AREAS,
        help=f"log debug messages of one of: {', '.join(DEBUG_AREAS)}",
    )
    action.add_argument(
        "-c",
        "--usmbd-version",
        "--ksmbd-version",
        dest="server_version",
        action="store_true",
        help="the version of the running server",
    )
    action.add_argument(
        "--check",
        action="store_true",
        help="check the files and print what holds, with -v all parameters; exit status 2 when"
        " they cannot be used (no server is needed)",
    )
    parser.add_argument("--off", action="store_true", help="with --debug: switch them off")
    parser.add_argument("--json", action="store_true", help="with --list: one JSON object a row")
    options = parser.parse_args(arguments)
    for given, name, wanted, needed in (
        (options.off, "--off", options.debug, "--debug"),
        (options.json, "--json", options.list, "--list"),
    ):
        if given and not wanted:
            parser.error(f"{name} goes with {needed} alone")
    return options


def request_for(options: argparse.Namespace) -> Message:
    """Return the message that the options ask for."""
    if options.shutdown:
        return ControlShutdown()
    if options.reload:
        return ControlReload()
    if options.list:
        kinds = TABLES if options.list == "all" else [ListKind(options.list)]
        return ControlList(kinds)
    if options.debug:
        return ControlDebug([options.debug], not options.off)
    return ControlVersion()


UNITS = {"age": "age_s", "idle": "idle_s", "silent": "silent_s", "speed": "speed_mbit/s"}
"""How a column is headed whose numbers have a unit: in one word, so that those of a line count."""

MASKS = ("access", "share_access")
"""Columns of bits, in hexadecimal as in the log and the documents."""


def columns(row: Row) -> list[str]:
    """Return a row's fields as text, in order."""
    fields = msgspec.structs.asdict(row).items()
    return [
        "-" if value is None else f"{value:#x}" if name in MASKS else _text(value) or "-"
        for name, value in fields
    ]


def _text(value: object) -> str:
    """Return one field as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def order(row: Row) -> int:
    """Return where a row comes: one worker's limits behind the other's, as none of them waits."""
    if not isinstance(row, LimitRow):
        return 0
    kind, _, number = row.process.partition(" ")
    return int(number) + 1 if number.isdecimal() else 1 << 30 if kind == "mountd" else 0


def table(rows: list[Row]) -> list[str]:
    """Return the rows as lines, one table for each kind with its heading."""
    lines: list[str] = []
    for kind in get_args(Row):
        heads = [UNITS.get(name, name) for name in kind.__struct_fields__]
        cells = [heads, *(columns(r) for r in rows if type(r) is kind)]
        if len(cells) == 1:
            continue
        if lines:
            lines.append("")
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
    return lines


def show(answer: ControlResponse, *, as_json: bool) -> list[Row]:
    """Print what an answer says at once; return rows of a list, which are printed together."""
    match answer:
        case ControlRows():
            if as_json:
                for row in answer.rows:
                    print(msgspec.json.encode(row).decode())
                return []
            return list(answer.rows)
        case ControlVersionInfo():
            print(
                f"usmbd {answer.version}, pid {answer.pid}, {answer.workers} workers, "
                f"up {answer.uptime} s"
            )
        case ControlDone():
            if answer.warnings:
                print(answer.warnings, file=sys.stderr)
            if answer.note:
                print(answer.note)
        case ControlError():
            raise ValueError(answer.reason)
    return []


EMPTY = {
    ListKind.SESSIONS: "nobody is logged in",
    ListKind.CONNECTIONS: "nobody is connected",
    ListKind.OPENS: "nothing is open",
    ListKind.RDMA: "RDMA is not in use: there is no interface with an address to serve at",
}
"""What a list without rows means."""


def ask(
    client: BlockingClient[ControlResponse], options: argparse.Namespace, directory: Path
) -> int:
    """Send the request and print its answers; return an exit code."""
    rows: list[Row] = []
    request = request_for(options)
    for answer in client.answers(request):
        if options.reload and isinstance(answer, ControlError):
            return common.fail(answer.reason, common.EXIT_CONFIG)
        rows += show(answer, as_json=options.json)
        if not (isinstance(answer, ControlRows) and answer.more):
            break
    if options.list == ListKind.LIMITS:
        rows += mountd_limits(directory, as_json=options.json)
    rows.sort(key=order)
    for line in table(rows):
        print(line)
    if isinstance(request, ControlList) and not rows and not options.json:
        print("\n".join(EMPTY[kind] for kind in request.kinds if kind in EMPTY))
    return 0


def mountd_limits(directory: Path, *, as_json: bool) -> list[Row]:
    """Ask mountd for its limits; none while it is being replaced."""
    try:
        client = BlockingClient(directory / MOUNTD_SOCKET, mountd_client())
    except OSError as error:
        print(f"mountd: {error}", file=sys.stderr)
        return []
    try:
        answer = client.request(LimitsRequest())
    finally:
        client.close()
    rows: list[Row] = [*answer.rows] if isinstance(answer, LimitsResponse) else []
    return show(ControlRows(rows), as_json=as_json)


def without_supervisor(options: argparse.Namespace, directory: Path) -> int:
    """Reload or end a mountd that runs alone; the other requests need the supervisor."""
    pid = lockfile.running(directory)
    if pid is None:
        hint = "" if options.config else "; -C names the configuration of another one"
        if os.geteuid() != 0 and directory == paths.state_directory():
            hint += "; root's servers are asked as root (sudo)"
        return common.fail(f"no server runs in {directory}{hint}", common.EXIT_FAILURE)
    server = lockfile.supervisor(directory)
    if server is not None and not options.shutdown:
        why = f"the server (process {server}) cannot be asked: {directory / CONTROL_SOCKET} is gone"
        return common.fail(why, common.EXIT_FAILURE)
    if options.reload:
        answer = common.reload(directory)
        refused = "" if answer is None else answer.refused
        return common.fail(refused, common.EXIT_CONFIG) if refused else 0
    if options.shutdown:
        os.kill(server or pid, signal.SIGTERM)
        return 0
    return common.fail("only mountd runs here, without a server", common.EXIT_FAILURE)


def check(config: Path, passwords: Path, options: argparse.Namespace) -> int:
    """Print what the files say and what has to be known of them; ConfigError when they are wrong.

    What is wrong with one file does not keep the other's errors back.
    """
    errors: list[ConfigError] = []
    configuration: Configuration | None = None
    users: UserTable | None = None
    for read in (
        lambda: offered(load(config)),
        partial(load_users, passwords, required=options.pwddb is not None),
    ):
        try:
            result = read()
        except ConfigError as error:
            errors.append(error)
            continue
        if isinstance(result, Configuration):
            configuration = result
        else:
            users = result
    common.warn(configuration, passwords, users)
    if errors:
        for each in errors:
            print(common.advised(each), file=sys.stderr)
        return common.EXIT_CONFIG
    assert configuration is not None
    print(f"# {config}")
    for line in show_config.lines(configuration, all_parameters=options.verbose):
        print(line)
    return 0


def find_server(config: Path, *, reload: bool) -> Path:
    """Return where the server of a configuration is; mistakes in the file are told.

    They do not keep anybody from looking at the server or ending it, but from a reload.
    """
    try:
        return Path(load(config).server.state_directory)
    except ConfigError as error:
        if reload or isinstance(error.__cause__, OSError):
            raise
        print(f"warning: {error}", file=sys.stderr)
        return state_directory_of(config)


def run(arguments: list[str]) -> int:
    """Ask the server."""
    options = parse_arguments(arguments)
    config, passwords = common.files(options)
    if options.check:
        return check(config, passwords, options)
    directory = find_server(config, reload=options.reload)
    if options.verbose:
        print(f"the server of {config}, in {directory}", file=sys.stderr)
    if options.config is not None and (other := common.of_others(directory, config)):
        raise ValueError(other)
    try:
        client = BlockingClient(directory / CONTROL_SOCKET, control_client())
    except (FileNotFoundError, ConnectionRefusedError):
        return without_supervisor(options, directory)
    try:
        return ask(client, options, directory)
    finally:
        client.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return common.run(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
