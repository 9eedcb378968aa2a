"""`usmbd.adduser`: add, change and delete users of the password file (ksmbd.adduser's options)."""

import argparse
import contextlib
import errno
import getpass
import os
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from usmbd.mountd import lockfile, paths
from usmbd.mountd.cli import common
from usmbd.mountd.cli.arguments import hide
from usmbd.mountd.config.load import Configuration, load
from usmbd.mountd.config.reading import state_directory_of
from usmbd.mountd.errors import ConfigError, all_of
from usmbd.mountd.identity import Accounts
from usmbd.mountd.passdb import read_passdb
from usmbd.mountd.users import (
    UserTable,
    check_stored_name,
    check_user_name,
    edit_accounts,
    hash_password,
    load_users,
    lock_of,
)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = common.parser("usmbd.adduser", "Add, update or delete a user of the password file.")
    action = parser.add_mutually_exclusive_group()
    for letter, name in (("a", "add"), ("u", "update"), ("d", "delete")):
        action.add_argument(
            f"-{letter}",
            f"--{name}",
            dest="action",
            const=name,
            action="store_const",
            help=f"{name} the user (default: add, or update if he is there)",
        )
    parser.add_argument(
        "-p",
        "--password",
        metavar="PWD",
        help="the password, for ksmbd.adduser's scripts: for a moment everybody on this machine can"
        " read it in the list of processes. Better leave it out and type it, or pipe it in:"
        " printf '%%s\\n' \"$PASSWORD\" | usmbd.adduser -a USER",
    )
    action.add_argument(
        "--import",
        dest="source",
        metavar="FILE",
        type=Path,
        help="add the users of Samba's smbpasswd or passdb.tdb, or of what `pdbedit -L -w` printed;"
        " disabled accounts stay so, those without a password are left out, who is there keeps"
        " the password that they have here (with -v each is named)",
    )
    account = parser.add_argument_group(
        "the account", "of a user who is there, without asking for a password:"
    )
    either = account.add_mutually_exclusive_group()
    either.add_argument(
        "--disable", action="store_true", default=None, dest="disabled", help="lets nobody in"
    )
    either.add_argument("--enable", action="store_false", dest="disabled", help="lets him in again")
    account.add_argument(
        "--must-change",
        action="store_true",
        default=None,
        help="has to choose another password before he logs in (smbpasswd -r, Windows)",
    )
    account.add_argument(
        "--lasting",
        choices=("yes", "no"),
        help="whether his password outlasts `maximum password age`",
    )
    account.add_argument(
        "--ends", metavar="DATE", type=day, help="lets him in until that day (2027-12-31); never"
    )
    parser.add_argument("user", metavar="USER", nargs="?", help="1 to 47 bytes, no colon")
    options = parser.parse_args(arguments)
    if (options.user is None) == (options.source is None):
        parser.error("a USER is wanted, or --import FILE")
    if options.source is not None and options.password is not None:
        parser.error("--password does not go with --import")
    if options.password:
        hide(options.password)
    if options.action == "delete" and options.password is not None:
        parser.error("--password does not go with --delete")
    if wishes(options) and (options.action == "delete" or options.source is not None):
        parser.error("what an account is does not go with --delete or --import")
    return options


def day(text: str) -> int:
    """Return when a day begins here, in seconds since 1970; 0 for never."""
    if text == "never":
        return 0
    with contextlib.suppress(ValueError, OverflowError):
        seconds = int(datetime.fromisoformat(text).timestamp())
        if 0 < seconds < 1 << 32:
            return seconds
    raise argparse.ArgumentTypeError(f"{text} is no day like 2027-12-31, and not never")


def wishes(options: argparse.Namespace) -> dict[str, object]:
    """Return what is to be another of an account, by the names of its facts."""
    lasting = None if options.lasting is None else options.lasting == "yes"
    said = {
        "disabled": options.disabled,
        "must_change": options.must_change,
        "lasting": lasting,
        "ends": options.ends,
    }
    return {name: value for name, value in said.items() if value is not None}


def ask_password() -> str:
    """Return the password that is typed twice; from a pipe, its first line, however it ends."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Again: ") != password:
        raise ValueError("the passwords differ")
    return password


def check_action(users: UserTable, user: str, action: str | None) -> None:
    """ValueError when who is to be added is there already or cannot be, or others are not there."""
    if action == "add" and user in users.hashes:
        raise ValueError(f"the user {user!r} is there already")
    if user not in users.hashes and (other := users.find(user)) is not None:
        raise ValueError(f"the user {other!r} is there: logins find him in any case")
    if action in ("update", "delete") and user not in users.hashes:
        raise ValueError(f"there is no user {user!r}")
    if user not in users.hashes:
        check_user_name(user)


def change(
    users: UserTable, user: str, action: str | None, digest: bytes | None, facts: dict[str, object]
) -> None:
    """Apply the action to the users; ValueError when he is there already, or is not."""
    check_action(users, user, action)
    if user not in users.hashes and digest is None:
        raise ValueError(f"there is no user {user!r}")
    if action == "delete":
        del users.hashes[user]
        return
    if digest is not None:
        users.put(user, digest)
    users.facts[user] = replace(users.facts_of(user), **facts)  # type: ignore[arg-type]


def import_users(source: Path, passwords: Path, *, verbose: bool) -> None:
    """Add the users of one of Samba's files; say what was not taken."""
    if not source.exists():
        raise ConfigError(str(source), 0, "there is no such file")
    found = read_passdb(source)
    known: list[str] = []
    accounts = Accounts()

    def add(users: UserTable) -> None:
        for name, digest in found.hashes.items():
            if name in users.hashes:
                known.append(name)
            else:
                users.hashes[name] = digest
                users.facts[name] = found.facts[name]

    common.say_new(passwords)
    passwords.parent.mkdir(parents=True, exist_ok=True)
    edit_accounts(passwords, add)
    added = [name for name in found.hashes if name not in known]
    for name in added:
        if accounts.find(name) is None:
            print(f"warning: {name!r} has no account on this system", file=sys.stderr)
    for why in (*found.left_out, *(f"{name}: he is there already" for name in known)):
        print(f"left out: {why}", file=sys.stderr)
    print(f"{passwords}: {len(added)} users added")
    if verbose:
        print("\n".join(added))


def refuse_if_gone(passwords: Path, directory: Path | None) -> None:
    """ValueError where a running server has users whose file is gone: it would lose all of them.

    Whoever has written the file once has left its lock.
    """
    if passwords.exists() or directory is None or not lock_of(passwords).exists():
        return
    if (pid := lockfile.running(directory)) is not None:
        raise ValueError(
            f"{passwords} is gone, and the server (process {pid}) goes on with its users: put it"
            f" back, or delete {lock_of(passwords)} to begin without them"
        )


def read(config: Path) -> Configuration | ConfigError | None:
    """Return the configuration, or what is wrong with it; None where there is no such file."""
    try:
        return load(config) if config.exists() else None
    except ConfigError as error:
        return error


def refuse_if_named(known: Configuration | ConfigError | None, user: str) -> None:
    """ValueError where the configuration names the user; a warning where that cannot be known."""
    if isinstance(known, ConfigError):
        print("warning: whether a share names him cannot be told", file=sys.stderr)
    elif known is not None and (users := known.naming(user)):
        raise ValueError(f"the user {user!r} is named in {', '.join(users)}")


def say_if_wrong(known: Configuration | ConfigError | None) -> None:
    """Warn of a configuration that a server does not take, of which its log alone tells."""
    if isinstance(known, ConfigError):
        first, *others = all_of(known)
        more = f" and {len(others)} more" if others else ""
        print(f"warning: {first}{more}: see usmbd.control --check", file=sys.stderr)


def state_directory(config: Path) -> Path | None:
    """Return where a running server is found; None when the configuration cannot tell."""
    with contextlib.suppress(ConfigError):
        return state_directory_of(config)
    return None


def run(arguments: list[str]) -> int:
    """Change the file and tell a running mountd."""
    options = parse_arguments(arguments)
    user = "" if options.user is None else check_stored_name(options.user)
    config, passwords = common.files(options)
    if options.config is not None and not config.exists():
        why = "there is no such file; -C names the server's configuration"
        raise ConfigError(str(config), 0, why)
    for there in (passwords, passwords.parent):
        if there.exists() and not os.access(there, os.W_OK):
            raise PermissionError(errno.EACCES, "may not be changed", str(passwords))
    directory = state_directory(config) if config.exists() else paths.state_directory()
    refuse_if_gone(passwords, directory)
    known = read(config)
    if options.source is not None:
        import_users(options.source, passwords, verbose=options.verbose)
        say_if_wrong(known)
        return common.say_whether_told(directory, config, verbose=options.verbose, users=True)
    if options.action == "delete":
        refuse_if_named(known, user)
        digest = None
    elif wishes(options) and options.action != "add" and options.password is None:
        digest = None
    else:
        check_action(load_users(passwords), user, options.action)
        if Accounts().find(user) is None:
            note = "has no account on this system: only shares with `force user` will let him in"
            print(f"warning: {user!r} {note}", file=sys.stderr)
        password = ask_password() if options.password is None else options.password
        digest = hash_password(password)
    common.make_folder(passwords, named=options.pwddb is not None)
    common.say_new(passwords)
    facts = wishes(options)
    edit_accounts(passwords, lambda users: change(users, user, options.action, digest, facts))
    if 0 < (options.ends or 0) <= time.time():
        print(f"warning: that day is over: {user!r} is let in no more", file=sys.stderr)
    if options.verbose:
        print(f"{passwords}: {user!r} written")
    say_if_wrong(known)
    return common.say_whether_told(directory, config, verbose=options.verbose, users=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return common.run(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
