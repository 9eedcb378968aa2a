"""`make serve`: a folder served at once, with files that an administrator can go on from.

What is there already is used as it is. What is missing is made: a configuration, a share folder,
a user of the password file with a password nobody could guess, which is kept beside it in the
form that `smbclient -A` and `mount.cifs -o credentials=` read. A share or a port named on the
command line goes into a hidden copy beside the configuration (where its relative includes keep
their meaning); the administrator's own file is never changed.
"""

import argparse
import errno
import getpass
import os
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from usmbd.mountd import lockfile, paths
from usmbd.mountd.cli import common
from usmbd.mountd.config import edit
from usmbd.mountd.config.load import Configuration, load
from usmbd.mountd.config.source import GLOBAL
from usmbd.mountd.identity import Accounts
from usmbd.mountd.substitute import literal
from usmbd.mountd.users import edit_users, hash_password, load_users

SMB_PORT = 445
UNPRIVILEGED_PORT = 4445
SHARE = "share"
CREDENTIALS = "credentials"
# 16 characters of an alphabet of 64: 96 bits
PASSWORD_BYTES = 12
# Without root: whose share, and whose configuration and state.
OWN_FOLDERS = "as root (sudo), or SHARE=, HOME= (XDG_CONFIG_HOME=, XDG_STATE_HOME=) of your own"
# An address of TEST-NET-1 (RFC 5737): asking for the way to it sends nothing.
NOWHERE = ("192.0.2.1", 9)

TEMPLATE = """\
# usmbd's configuration: the syntax of ksmbd.conf and smb.conf. Made by `make serve`.

[global]
\ttcp port = {port}
\tserver string = usmbd on {host}
\tworkgroup = WORKGROUP

[{share}]
\tread only = no
\tvfs objects = streams_xattr
"""


class Login(NamedTuple):
    """Whom to connect as."""

    user: str
    password: str
    """Empty when the user was there before and his password is not known."""
    file: Path


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="make serve", description="Serve a folder at once.")
    parser.add_argument("--share", type=Path, metavar="DIR", help="the folder to serve")
    parser.add_argument("--port", type=common.port, metavar="N", help="the TCP port")
    return parser.parse_args(arguments)


def account() -> str:
    """Return the system account that files are made as: the person's, even behind sudo."""
    if os.geteuid() == 0:
        return os.environ.get("SUDO_USER") or "root"
    return getpass.getuser()


def prepare_folder(folder: Path, user: str) -> None:
    """Make the folder to be served, the user's, unless it is there; ValueError when it is none."""
    if folder.is_dir():
        return
    if folder.exists():
        raise ValueError(f"{folder} is not a folder")
    missing = [step for step in (folder, *folder.parents) if not step.exists()]
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        for step in missing:
            step.chmod(0o755)  # whatever root's umask says: others have to pass through
            shutil.chown(step, user)


def login_name(user: str) -> str:
    r"""Return whom clients name for a system's account: of winbind's `DOMAIN\alice` alice alone."""
    return user.rpartition("\\")[2]


def as_account(user: str) -> list[tuple[str, str]]:
    """Return what lets a share act as an account that has another name than its login."""
    if login_name(user) == user or Accounts().find(login_name(user)) is not None:
        return []
    return [("force user", literal(user))]


def prepare_configuration(user: str) -> Path:
    """Return the configuration file; with it and its share folder made when there is none."""
    file = paths.config_file()
    if file.exists():
        return file
    folder = paths.data_directory() / SHARE
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        folder.parent.chmod(0o755)
        shutil.chown(folder, user)
    port = SMB_PORT if os.geteuid() == 0 else UNPRIVILEGED_PORT
    file.parent.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname()
    text = TEMPLATE.format(host=host, port=port, share=SHARE)
    options = [("path", literal(str(folder))), *as_account(user)]
    file.write_text(edit.set_options(text, file, SHARE, options))
    return file


def prepare_user(user: str, database: Path) -> Login:
    """Make the user with a password of his own, unless the password file has him."""
    known = database.parent / CREDENTIALS
    login = Login(user, "", known)
    if database.exists() and user in load_users(database).hashes:
        return login
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    edit_users(database, lambda hashes: hashes.update({user: hash_password(password)}))
    known.touch(mode=0o600)
    known.chmod(0o600)
    known.write_text(f"username={user}\npassword={password}\n")
    return login._replace(password=password)


def with_options(
    file: Path, share: Path | None, port: int | None, user: str = ""
) -> tuple[Path, str]:
    """Return a configuration with the share's folder and the port; `file` itself without them.

    And its text, to be written once it can be served: it is a copy beside `file`, made once, and
    what is changed there later stays. With a share it has that one alone: another server may serve
    the others, and would know nothing of their locks.
    """
    if share is None and port is None:
        return file, file.read_text()
    original = load(file)
    state = Path(original.server.state_directory)
    if port is not None:
        state = state.with_name(f"{state.name}-{port}")  # two servers may run side by side
    copy = file.with_name(f".{file.stem}-{port or 'share'}{file.suffix}")
    text = (copy if copy.exists() else file).read_text()
    if share is not None and not copy.exists():
        for other in original.shares.values():
            if edit.has_share(text, file, other.config.name):
                text = edit.remove_share(text, file, other.config.name)
    options = [("state directory", literal(str(state)))]
    if port is not None:
        options.append(("tcp port", str(port)))
    text = edit.set_options(text, file, GLOBAL, options)
    if share is not None:
        served = [("path", literal(str(share.absolute()))), ("read only", "no"), *as_account(user)]
        text = edit.set_options(text, file, SHARE, served)
    return copy, text


def own_address() -> str:
    """Return the address that others reach this machine by, or its name when there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(NOWHERE)
        except OSError:
            return socket.gethostname()
        address: str = probe.getsockname()[0]
        return address


def instructions(file: Path, configuration: Configuration, login: Login) -> str:
    """Return what to type to connect."""
    host, port = own_address(), configuration.server.tcp_port
    shares = [share.config for share in configuration.shares.values() if share.config.path]
    credentials = login.file if login.file.exists() else None
    who = f"-A {credentials}" if credentials else f"-U {login.user}"
    smbclient_port = "" if port == SMB_PORT else f" -p {port}"
    cifs_port = "" if port == SMB_PORT else f",port={port}"
    windows_port = "" if port == SMB_PORT else f" /tcpport:{port}"
    finder_port = "" if port == SMB_PORT else f":{port}"
    name = shares[0].name if shares else "NAME"
    served = ", ".join(f"{share.path} as {share.name!r}" for share in shares)
    lines = [
        f"usmbd serves {served or 'no folder yet: add a share (below)'}",
        f"  configuration   {file}",
        f"  user            {login.user}",
        f"  password        {login.password}"
        if login.password
        else f"  password        {'in ' + str(credentials) if credentials else 'as it was set'}",
        "",
        "Connect from",
        f"  this machine    smbclient{smbclient_port} {who} //127.0.0.1/{name}",
        f"  Linux           sudo mount -t cifs //{host}/{name} /mnt"
        f" -o username={login.user}{cifs_port}",
        rf"  Windows         net use Z: \\{host}\{name} /user:{login.user}{windows_port}",
        f"  macOS           open smb://{login.user}@{host}{finder_port}/{name}",
    ]
    if windows_port:
        lines.append(
            "                  (Windows: 11 24H2 or newer; older ones know port 445 alone)"
        )
    tools = Path(sys.executable)
    lines += [
        "",
        f"Who is connected  {tools.with_name('usmbd.control')} -C {file} -l",
        f"Another user      {tools.with_name('usmbd.adduser')} -C {file} -a USER",
        f"Another share     {tools.with_name('usmbd.addshare')} -C {file} -a NAME"
        " -o 'path = /folder'",
    ]
    return "\n".join([*lines, "", "^C ends the server.", ""])


def check_free(configuration: Configuration) -> None:
    """Say before anything else that the port or the state directory is another server's."""
    server = configuration.server
    state = Path(server.state_directory)
    pid = lockfile.supervisor(state) or lockfile.running(state)
    if pid is not None:
        raise ValueError(
            f"a server runs already (process {pid}): `make serve PORT=n` starts another beside it"
        )
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", server.tcp_port))
        except PermissionError as error:
            raise ValueError(
                f"port {server.tcp_port} needs root: sudo make serve, or make serve PORT=4445"
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE and not server.interfaces:
                raise ValueError(
                    f"port {server.tcp_port} is taken (ss -ltnp says by whom): make serve PORT=n"
                ) from error


def run(arguments: list[str]) -> int:
    """Prepare what is missing, say how to connect, become the server."""
    options = parse_arguments(arguments)
    user = account()
    if options.share is not None:
        options.share = options.share.expanduser()  # make's quotes keep a ~ from the shell
        prepare_folder(options.share, user)
    original = prepare_configuration(user)
    database = paths.password_file(original.parent)
    login = prepare_user(login_name(user), database)
    file, text = with_options(original, options.share, options.port, user)
    configuration = load(file, text)
    check_free(configuration)
    if file != original:
        file.write_text(text)
    print(instructions(file, configuration, login), flush=True)
    server = Path(sys.executable).with_name("usmbd")
    os.execv(server, [str(server), "-C", str(file), "-P", str(database)])


def main(arguments: list[str] | None = None) -> None:
    """Run the tool and exit with its code."""
    sys.exit(common.run(run, arguments, OWN_FOLDERS))
