"""smbtorture, Samba's own test suite: run it against a server and read what came of each test.

SMBTORTURE in the environment names another program than the one that is installed.

A test has the name that `smbtorture --fullname` gives it, such as `smb2.lock.valid-request`; the
suite is the part of the name that `smbtorture --list-suites` knows.
"""

import os
import pwd
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import IO, NamedTuple

from smbtest.proxy import forwarded
from smbtest.realm import SERVER, Realm
from smbtest.samba_tools import client_configuration, credentials
from smbtest.server import ALICE, BOB, NETBIOS_NAME, Server

SHARE = "torture"
PERSISTENT = "persistent"
"""The same folder with continuous availability, for the suites of that name."""
BTRFS = "btrfs"
"""A share on that file system, for what ext4 cannot do (torture_extras.py)."""
SILENCE_SECONDS = 75.0  # a test that says nothing for so long has hung: its requests end after 60 s

# Benchmarks, helpers that hold a handle for ever, and what needs a prepared file or snapshot.
_NOT_TESTS = (
    "smb2.bench",
    "smb2.check-sharemode",
    "smb2.create.bench-path-contention-shared",
    "smb2.durable-open-disconnect",
    "smb2.hold-oplock",
    "smb2.hold-sharemode",
    "smb2.oplock.levelii501",
    "smb2.scan",
    "smb2.set-sparse-ioctl",
    "smb2.timestamp_resolution",
    "smb2.twrp",
    "rpc.samr.passwords.default",  # wrong passwords are slowed down here: minutes
    "rpc.samr.large-dc",  # thousands of accounts, of which there are none of the kinds
    "smb2.zero-data-ioctl",
)
# What needs modules or parameters of smbd, or a path on its disk.
_ONLY_SMBD = (
    "smb2.acls_non_canonical",
    "smb2.aio_delay",
    "smb2.async_dosmode",
    "smb2.change_notify_disabled",
    "smb2.create_no_streams",
    "smb2.dosmode",
    "smb2.ea",
    "smb2.kernel-oplocks",
    "smb2.samba3misc",
    "smb2.session-require-signing",
)
# What asks for persistent handles.
_PERSISTENT = ("smb2.persistent-open", "smb2.replay.replay5")
# What is skipped where files share no blocks, or are not compressed.
_BTRFS = ("smb2.ioctl.dup_extents", "smb2.ioctl.compress_", "smb2.ioctl.sparse_compressed")
_NOT_BTRFS = "smb2.ioctl.compress_notsup"
# What asks for tickets of some seconds.
_BY_TICKET = "smb2.session.expire"
# What dials port 445, whatever port the server has.
_AT_445 = ("smb2.multichannel.bugs",)
_ADDRESS_445 = "127.0.0.47"  # of its own: other tests dial that port beside these
_STATUSES = {
    "success": "success",
    "successful": "success",
    "failure": "failure",
    "error": "failure",  # the preparation failed, or an exception: of no other consequence
    "knownfail": "failure",
    "xfail": "failure",
    "skip": "skip",
}
_BEGIN = re.compile(r"(?:.*\r)?test: (?P<name>.+)")
# A test's last comment may lack its end of line, so the result may follow it.
_END = re.compile(rf"(?:.*[^\w.-])?(?P<word>{'|'.join(_STATUSES)}): (?P<name>.+?)(?P<more> \[)?")


_SOURCE_LINE = re.compile(r"\b\w+\.c:\d+")
_SOURCE_FOLDER = re.compile(r"(?:\.\./)*source\d/torture/(?:smb2/|rpc/)?")
# What differs from run to run, and what stands for it: moments, numbers made of them, addresses.
_VARYING = (
    (re.compile(r"\b\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4} \w+"), "TIME"),
    (re.compile(r"\b\d{15,} \(0x[0-9A-F]+\)"), "TIME"),
    (re.compile(r"\b0x[0-9a-fA-F]{9,}\b"), "NUMBER"),
    (re.compile(r"\b\d+\.\d+\.\d+\.\d+(?::\d+)?"), "ADDRESS"),
    (re.compile(r"fnum_test_\d+"), "fnum_test_N"),
    (re.compile(r"_time should be 0x\w+ - 0x\w+"), "_time should be TIME - TIME"),
)


RPC_SUITES = (
    "rpc.altercontext",
    "rpc.asyncbind",
    "rpc.bind",
    "rpc.dfs",
    "rpc.dssetup",
    "rpc.epmapper",
    "rpc.eventlog",
    "rpc.handles",
    "rpc.lsa",
    "rpc.lsa-getuser",
    "rpc.lsalookup",
    "rpc.mgmt",
    "rpc.ntsvcs",
    "rpc.samba3",
    "rpc.samr",
    "rpc.srvsvc",
    "rpc.svcctl",
    "rpc.winreg",
    "rpc.wkssvc",
)
"""The suites of DCE/RPC whose interfaces the server has."""

RPC_PARAMETERS = {"admin users": BOB.name, "ntlm auth": "yes"}
"""Of their server: they are run as an administrator, and some log in by NTLMv1."""


class Outcome(NamedTuple):
    """What came of a test: `success`, `failure`, `skip`, `timeout` or `crash` (of the client)."""

    status: str
    seconds: float = 0.0
    reason: str = ""
    retried: str = ""
    """What was wrong with it at the first try, where it was run again."""

    @property
    def place(self) -> str:
        """Where and how a test stopped that did not pass, without what differs from run to run."""
        lines = self.reason.splitlines()
        if self.status == "success" or not lines:
            return ""
        place = next(filter(_SOURCE_LINE.search, lines), lines[0])
        place = _SOURCE_FOLDER.sub("", place)
        for pattern, name in _VARYING:
            place = pattern.sub(name, place)
        return " ".join(place.split())


def within(name: str, prefix: str) -> bool:
    """Say whether a test is, or lies in, the suite `prefix`."""
    return name == prefix or name.startswith(prefix + ".")


def _fullname(listed: str) -> str:
    """Return the name of a test as --fullname prints it: --list repeats the last part."""
    for match in re.finditer(r"\.", listed):
        name, last = listed[: match.start()], listed[match.end() :]
        if name.endswith("." + last):
            return name
    return listed


def _program_s_name(name: str) -> str:
    """Return what the program runs a test by: those of an RPC interface go together alone."""
    _, suite, *rest = name.split(".")
    interfaces = ("netdfs", suite, f"{suite} (admin access)", f"{suite} anonymous access")
    if not name.startswith("rpc.") or len(rest) < 2:
        return name
    return name.rsplit(".", 2)[0] if rest[-2].startswith(interfaces) else name


def wants_btrfs(name: str) -> bool:
    """Say whether a test is skipped on a file system such as ext4."""
    return name.startswith(_BTRFS) and not name.startswith(_NOT_BTRFS)


def by_ticket(name: str) -> bool:
    """Say whether a test is skipped without Kerberos."""
    return name.startswith(_BY_TICKET)


def suite_of(name: str) -> str:
    """Return the suite that a test belongs to: the first two parts of its name."""
    return ".".join(name.split(".")[:2])


def add_shares(server: Server) -> None:
    """Give a server that has not been started the shares that the tests use."""
    folder = server.folder / SHARE
    folder.mkdir()
    folder.chmod(0o777)
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam(ALICE.name).pw_uid, -1)
    share = server.shares["data"] | {
        "path": str(folder),
        "vfs objects": "acl_xattr streams_xattr",
        "mangled names": "yes",
    }
    if server.kind == "smbd":  # it asks the kernel besides the stored ACL only without this
        share["acl_xattr:ignore system acls"] = "yes"
    server.shares[SHARE] = share
    server.shares[PERSISTENT] = share | {"continuous availability": "yes"}
    closed = server.folder / "noperm"
    closed.mkdir(mode=0o700)
    server.shares["noperm"] = share | {"path": str(closed)}  # for ioctl.bug14788
    if server.kind == "usmbd":  # off for the Linux client's sake: protocol/state/README.md
        server.options.parameters["smb3 directory leases"] = "yes"
    server.options.parameters["smbd:FSCTL_SMBTORTURE"] = "yes"  # a connection is taken for cut
    server.shares["hideunread"] = share | {"hide unreadable": "yes"}  # for acls.ACCESSBASED


class Smbtorture:
    """The program, with what it needs to reach the server's share `torture`."""

    def __init__(
        self, server: Server, *, dials_445: bool = False, realm: Realm | None = None
    ) -> None:
        self.server = server
        self._realm = realm
        self._dials_445 = dials_445
        self._program = os.environ.get("SMBTORTURE", "smbtorture")
        self._configuration = [self._program, "-s", client_configuration(server)]
        self._base = server.state / "torture"
        self._base.mkdir(exist_ok=True)

    def version(self) -> str:
        """Return the version of smbtorture, such as 4.17.12."""
        said = subprocess.run(
            [self._program, "-V"], check=True, capture_output=True, text=True, timeout=60
        ).stdout
        found = re.search(r"\d+\.\d+\.\d+", said)
        return found[0] if found else ""

    def tests(self, *prefixes: str) -> list[str]:
        """List the tests in the suites `prefixes` that say something about any server."""
        return [
            name
            for name in self._all_tests
            if any(within(name, prefix) for prefix in prefixes)
            and not any(within(name, left_out) for left_out in (*_NOT_TESTS, *_ONLY_SMBD))
        ]

    @cached_property
    def _all_tests(self) -> list[str]:
        """What the program lists."""
        listed = subprocess.run(
            [*self._configuration, "--list"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        known = ("smb2.", "rpc.")
        names = [_fullname(line) for line in listed.splitlines() if line.startswith(known)]
        return list(dict.fromkeys(names))

    def run(self, names: Sequence[str], silence: float = SILENCE_SECONDS) -> dict[str, Outcome]:
        """Run tests in one process, and in a new one those that a hang or a crash left over."""
        outcomes: dict[str, Outcome] = {}
        dialling = [name for name in names if any(within(name, suite) for suite in _AT_445)]
        if dialling and not self._dials_445:
            with forwarded(self.server, _ADDRESS_445, 445):
                at_445 = Smbtorture(self.server, dials_445=True)
                outcomes = at_445.run(dialling, silence)
        while left := [name for name in names if name not in outcomes]:
            if left[0].startswith("rpc."):  # some leave other credentials to the next one
                program = _program_s_name(left[0])
                left = [name for name in left if _program_s_name(name) == program]
            way = self._share(left[0]), by_ticket(left[0])
            left = [name for name in left if (self._share(name), by_ticket(name)) == way]
            found = dict(self._run_once(left, silence))
            if not found.keys() & set(left):
                found = {left[0]: Outcome("crash", reason="smbtorture ran nothing")}
            outcomes |= found
        return {name: outcomes[name] for name in names}

    def clean(self) -> None:
        """Empty the shares: what a test left there must not disturb the next suite."""
        for share in {SHARE, BTRFS} & self.server.shares.keys():
            for entry in self._folder(share).iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()

    def _share(self, name: str) -> str:
        """Return the share that a test uses."""
        if any(within(name, each) for each in _PERSISTENT):
            return PERSISTENT
        return BTRFS if wants_btrfs(name) and BTRFS in self.server.shares else SHARE

    def _folder(self, share: str) -> Path:
        """Return where a share is."""
        return Path(self.server.shares[share]["path"])

    def _credentials(self, name: str) -> list[str]:
        """Return the options by which a test logs in."""
        if self._realm is None or not by_ticket(name):
            return credentials(self.server.administrator if name.startswith("rpc.") else ALICE)
        return [
            *("--use-kerberos=required", "-U", f"{ALICE.name}@{self._realm.name}"),
            *(f"--password={ALICE.password}", f"--option=gensec:target_hostname={SERVER}"),
        ]

    def _command(self, names: Sequence[str]) -> list[str]:
        """Return the command line that runs some tests."""
        host, port = self.server.host, self.server.port
        if self._dials_445:
            host, port = _ADDRESS_445, 445
        names = list(dict.fromkeys(map(_program_s_name, names)))
        share = self._share(names[0])
        reached = ["-p", str(port), f"//{host}/{share}"]
        if names[0].startswith("rpc."):  # by named pipes, as an administrator
            # the domain whose accounts they ask for: a server of none has its own
            domain = f"--option=workgroup={NETBIOS_NAME}"
            reached = [domain, f"--option=smb ports={port}", f"ncacn_np:{host}"]
        return [
            *self._configuration,
            *[*reached, *self._credentials(names[0])],
            *["--fullname", "--format=subunit", "--seed=1", f"--basedir={self._base}"],
            "--option=torture:progress=no",
            f"--option=torture:user2name={BOB.name}",
            f"--option=torture:user2password={BOB.password}",
            f"--option=torture:localdir={self._folder(share)}",
            *names,
        ]

    def _run_once(self, names: Sequence[str], silence: float) -> Iterator[tuple[str, Outcome]]:
        """Yield what came of each test until the process ends or a test says nothing."""
        realm = self._realm.environment if self._realm and by_ticket(names[0]) else {}
        with subprocess.Popen(
            self._command(names),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"LC_ALL": "C.UTF-8"} | realm,
            cwd=self._base,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            name, begin, said = "", 0.0, list[str]()
            try:
                lines = _lines(process.stdout, silence)
                for line in lines:
                    if match := _BEGIN.fullmatch(line):
                        name, begin, said = match["name"], time.monotonic(), []
                    elif name and (match := _END.fullmatch(line)) and match["name"] == name:
                        seconds = time.monotonic() - begin
                        more = list(takewhile("]".__ne__, lines)) if match["more"] else []
                        # some tests say where they failed in a comment alone
                        more += filter(_SOURCE_LINE.search, reversed(said))
                        yield name, Outcome(_STATUSES[match["word"]], seconds, "\n".join(more))
                        name = ""
                    elif not line.startswith("time: "):
                        said.append(line)
                if name:
                    yield name, Outcome("crash", time.monotonic() - begin, "\n".join(said[-5:]))
            except TimeoutError:
                if name:
                    yield name, Outcome("timeout", time.monotonic() - begin, "\n".join(said[-5:]))
            finally:
                with suppress(ProcessLookupError):  # its children hold the pipe open as well
                    os.killpg(process.pid, signal.SIGKILL)


def _lines(stream: IO[bytes], silence: float) -> Iterator[str]:
    """Yield the lines of a pipe; TimeoutError when none comes for `silence` seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        rest = b""
        while True:
            if not selector.select(silence):
                raise TimeoutError
            chunk = os.read(stream.fileno(), 1 << 16)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
