"""A Kerberos realm of the test's own: MIT's KDC, without rights, in a folder that goes with it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smbtest import processes
from smbtest.server import HOST, free_port

REALM = "USMBD.TEST"
SERVER = "server.usmbd.test"
"""The name by which clients ask for tickets; nothing resolves it."""
SERVICE = f"cifs/{SERVER}"
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class Realm:
    """A realm, its KDC, and what clients and servers need of it."""

    def __init__(self, name: str = REALM, *, clock_skew: int = 1, pac: bool = True) -> None:
        """Make the files; `clock_skew` in seconds is added to what a session lasts.

        With a `pac` in them smbd takes no tickets without a domain.
        """
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix="realm-"))
        self.port = free_port()
        self.keytab = self.folder / "server.keytab"
        self._kdc: subprocess.Popen[bytes] | None = None
        self._caches = 0
        (self.folder / "krb5.conf").write_text(
            f"""[libdefaults]
 default_realm = {name}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 clockskew = {clock_skew}
 udp_preference_limit = 1
[realms]
 {name} = {{
  kdc = {HOST}:{self.port}
 }}
[domain_realm]
 .usmbd.test = {name}
 usmbd.test = {name}
"""
        )
        (self.folder / "kdc.conf").write_text(
            f"""[kdcdefaults]
 kdc_listen = {HOST}:{self.port}
 kdc_tcp_listen = {HOST}:{self.port}
[realms]
 {name} = {{
  database_name = {self.folder}/principal
  key_stash_file = {self.folder}/stash
  acl_file = {self.folder}/acl
  max_life = 10h
  disable_pac = {"false" if pac else "true"}
 }}
[logging]
 kdc = FILE:{self.folder}/kdc.log
"""
        )

    @property
    def environment(self) -> dict[str, str]:
        """What tells a program of this realm."""
        return {
            "KRB5_CONFIG": str(self.folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{self.folder}/no-cache",
            "PATH": PATH,
        }

    def run(self, *command: str, **environment: str) -> str:
        """Run a program of Kerberos and return what it says."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def add_user(self, name: str, password: str) -> None:
        """Make a principal with a password."""
        self.run("kadmin.local", "-q", f'addprinc -pw "{password}" {name}')

    def add_service(self, name: str = SERVICE) -> None:
        """Make a principal with a random key, which is put into the server's keytab."""
        self.run("kadmin.local", "-q", f"addprinc -randkey {name}")
        self.run("kadmin.local", "-q", f"ktadd -k {self.keytab} {name}")

    def ticket(self, user: str, password: str, lifetime: str = "1h") -> str:
        """Get a ticket-granting ticket; return the name of its cache, for KRB5CCNAME."""
        self._caches += 1
        cache = f"FILE:{self.folder}/cache-{self._caches}"
        done = subprocess.run(
            ["kinit", "-l", lifetime, "-c", cache, user],
            env=os.environ | self.environment,
            input=f"{password}\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return cache

    @contextmanager
    def running(self) -> Iterator["Realm"]:
        """Make the database, start the KDC; end it and delete everything after."""
        try:
            self.run("kdb5_util", "create", "-s", "-r", self.name, "-P", "master")
            self.add_service()
            self._kdc = subprocess.Popen(
                ["krb5kdc", "-n"],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            processes.wait_for(self._up, 30, "the KDC's start")
            yield self
        finally:
            if self._kdc is not None:
                self._kdc.kill()
                self._kdc.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _up(self) -> bool:
        """Say whether the KDC takes requests."""
        assert self._kdc is not None
        assert self._kdc.poll() is None, (self.folder / "kdc.log").read_text()
        log = self.folder / "kdc.log"
        return log.exists() and "commencing operation" in log.read_text()
