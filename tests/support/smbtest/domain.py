"""A domain of Active Directory of the test's own: Samba's, of which the KDC alone is started."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smbtest import processes
from smbtest.realm import PATH, SERVER, SERVICE
from smbtest.server import HOST, free_port

REALM = "AD.USMBD.TEST"
DOMAIN = "ADDOM"
MACHINE = "FILES"
PASSWORD = "Domain-Pass1!"
TEMPLATES = Path("/usr/share/samba/setup/provision.ldif")
"""What samba-tool makes a domain from (samba-ad-provision)."""


class Domain:
    """A domain with a machine account, whose keys are in a keytab."""

    def __init__(self) -> None:
        """Choose a folder and ports."""
        self.folder = Path(tempfile.mkdtemp(prefix="domain-"))
        self.port = free_port()
        self.keytab = self.folder / "machine.keytab"
        self._samba: subprocess.Popen[bytes] | None = None
        self._caches = 0
        (self.folder / "krb5.conf").write_text(
            f"[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n"
            " dns_canonicalize_hostname = false\n rdns = false\n"
            f"[realms]\n {REALM} = {{\n  kdc = {HOST}:{self.port}\n }}\n"
            f"[domain_realm]\n {SERVER} = {REALM}\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        """What tells a program of this domain."""
        return {"KRB5_CONFIG": str(self.folder / "krb5.conf"), "PATH": PATH}

    @property
    def configuration(self) -> Path:
        """The domain controller's smb.conf."""
        return self.folder / "dc" / "etc" / "smb.conf"

    def tool(self, *words: str) -> None:
        """Run samba-tool."""
        self._run("samba-tool", *words, "-s", str(self.configuration))

    def _run(self, *command: str, given: str = "") -> None:
        done = subprocess.run(
            command,
            env=os.environ | self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def add_user(self, name: str, *groups: str) -> None:
        """Make a user, and groups that he is in."""
        self.tool("user", "create", name, PASSWORD)
        for group in groups:
            self.tool("group", "add", group)
            self.tool("group", "addmembers", group, name)

    def ticket(self, user: str) -> str:
        """Get a ticket-granting ticket; return the name of its cache, for KRB5CCNAME."""
        self._caches += 1
        cache = f"FILE:{self.folder}/cache-{self._caches}"
        self._run("kinit", "-c", cache, user, given=f"{PASSWORD}\n")
        return cache

    @contextmanager
    def running(self) -> Iterator["Domain"]:
        """Make the domain, start its KDC; end it and delete everything after."""
        options = [f"--option=krb5 port={self.port}", "--option=interfaces=lo"]
        options += ["--option=bind interfaces only=yes", f"--option=kpasswd port={free_port()}"]
        try:
            self._run(
                *("samba-tool", "domain", "provision", f"--realm={REALM}", f"--domain={DOMAIN}"),
                *("--server-role=dc", f"--adminpass={PASSWORD}", "--dns-backend=NONE"),
                *(f"--targetdir={self.folder}/dc", "--host-name=addc", *options),
            )
            self.tool("computer", "create", MACHINE)
            self.tool("user", "setpassword", f"{MACHINE}$", f"--newpassword={PASSWORD}")
            self.tool("spn", "add", SERVICE, f"{MACHINE}$")
            self.tool("domain", "exportkeytab", str(self.keytab), f"--principal={SERVICE}")
            with (self.folder / "log").open("wb") as log:
                self._samba = subprocess.Popen(
                    [
                        *("samba", "-i", "-s", str(self.configuration), "-M", "single"),
                        *("--option=server services=kdc", *options),
                    ],
                    env=os.environ | self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            processes.wait_for(self._up, 60, "the KDC's start")
            yield self
        finally:
            if self._samba is not None:
                for pid in [*processes.children(self._samba.pid), self._samba.pid]:
                    os.kill(pid, 9)
                self._samba.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _up(self) -> bool:
        """Say whether the KDC listens."""
        assert self._samba is not None
        assert self._samba.poll() is None, (self.folder / "log").read_text()
        wanted = f"0100007F:{self.port:04X}"
        return any(
            fields[1] == wanted and fields[3] == "0A"
            for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        )
