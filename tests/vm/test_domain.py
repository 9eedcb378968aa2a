"""The kernel's client in a realm, and behind a link of DFS: three machines, of which two serve.

The kernel asks programs of the machine for tickets: request-key(8), which calls cifs.upcall(8).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from booted import booted
from guest import Done, Guest

pytestmark = pytest.mark.timeout(1200)

MOUNT = "/run/lab/mnt"
REALM, SERVER = "LAB.TEST", "server.lab.test"
PASSWORD = "kerberos-Pass1"

# The guests' /etc is the host's: a file in it is hidden behind another.
FILES = {
    "/etc/hosts": f"127.0.0.1 localhost\n10.99.0.1 {SERVER}\n",
    "/etc/krb5.conf": f"""[libdefaults]
 default_realm = {REALM}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
[realms]
 {REALM} = {{
  kdc = 10.99.0.1
 }}
[domain_realm]
 .lab.test = {REALM}
""",
}

KDC = f"""set -e
mkdir -p /run/lab/kdc
cat >/run/lab/kdc/kdc.conf <<F
[realms]
 {REALM} = {{
  database_name = /run/lab/kdc/principal
  key_stash_file = /run/lab/kdc/stash
  acl_file = /run/lab/kdc/acl
 }}
F
export KRB5_KDC_PROFILE=/run/lab/kdc/kdc.conf
kdb5_util create -s -r {REALM} -P master
kadmin.local -q 'addprinc -pw {PASSWORD} lab'
kadmin.local -q 'addprinc -randkey cifs/{SERVER}'
kadmin.local -q 'ktadd -k /run/lab/keytab cifs/{SERVER}'
krb5kdc
"""

OPTIONS = " kerberos method = dedicated keytab\n dedicated keytab file = /run/lab/keytab\n"
ROOT = "[dfs]\n path = /run/lab/dfs\n msdfs root = yes\n"
"""It follows the share's own lines."""


@dataclass
class Machines:
    """Two servers, of which the first is the KDC and has links to the second; and a client."""

    first: Guest
    second: Guest
    client: Guest

    def mount(self, what: str, options: str) -> Done:
        """Mount a share on the client."""
        words = ["mount", "-t", "cifs", what, MOUNT, "-o", f"vers=3.1.1,{options}"]
        return self.client.run(*words, limit=120)


def shell(guest: Guest, script: str) -> str:
    """Run a script in a guest; what it said."""
    done = guest.run("bash", "-c", script, limit=120)
    assert done.failure == "", done.failure
    return done.said


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """Boot three machines, and start what they serve."""
    with booted("first", "client", "second") as (_, guests):
        for guest in guests:
            for path, text in FILES.items():
                shell(guest, f"cat >/run/lab/file <<'F'\n{text}F\n")
                shell(guest, f"mv /run/lab/file /run/{Path(path).name}")
                shell(guest, f"mount --bind /run/{Path(path).name} {path}")
        first, client, second = guests
        shell(first, KDC)
        shell(first, "mkdir /run/lab/dfs && ln -s 'msdfs:10.99.0.3\\data' /run/lab/dfs/link")
        environment = {"OPTIONS": OPTIONS, "SHARE_OPTIONS": ROOT}
        assert first.run("usmbd.sh", "start", env=environment, limit=300).failure == ""
        assert second.run("usmbd.sh", "start", limit=300).failure == ""
        shell(
            second, "echo 'on the second' >/run/lab/share/there && chmod 666 /run/lab/share/there"
        )
        shell(client, f"mkdir -p {MOUNT}")
        yield Machines(first, second, client)


@pytest.mark.parametrize("protection", ["krb5", "krb5i,seal"])
def test_a_mount_by_a_ticket(machines: Machines, protection: str) -> None:
    what, options = f"//{SERVER}/data", f"ip=10.99.0.1,username=lab,sec={protection}"
    shell(machines.client, "kdestroy -A; true")
    refused = machines.mount(what, options)
    assert "126" in refused.said  # ENOKEY: there is no ticket
    shell(machines.client, f"echo {PASSWORD} | kinit lab")
    assert machines.mount(what, options).failure == ""
    try:
        shell(machines.client, f"echo 'by a ticket' >{MOUNT}/ticket")
        assert shell(machines.first, "cat /run/lab/share/ticket") == "by a ticket"
        assert shell(machines.first, "stat -c %U /run/lab/share/ticket") == "lab"
        assert f"cifs/{SERVER}@{REALM}" in shell(machines.client, "klist")
    finally:
        shell(machines.client, f"umount {MOUNT}")


@pytest.mark.parametrize("below", ["", "/link"])
def test_a_link_leads_to_the_other_server(machines: Machines, below: str) -> None:
    """The mount is of the root, where the link is crossed, or of the link itself."""
    done = machines.mount(f"//10.99.0.1/dfs{below}", "username=lab,password=pw")
    assert done.failure == ""
    folder = f"{MOUNT}/link" if not below else MOUNT
    try:
        assert shell(machines.client, f"cat {folder}/there") == "on the second"
        shell(machines.client, f"echo 'from the client' >{folder}/there")
        assert shell(machines.second, "cat /run/lab/share/there") == "from the client"
        shell(machines.client, f"cp {folder}/there {folder}/copied && rm {folder}/copied")
        assert r"\\10.99.0.3\data" in shell(machines.client, "cat /proc/fs/cifs/DebugData")
    finally:
        shell(machines.client, f"umount -R {MOUNT}")
        shell(machines.second, "echo 'on the second' >/run/lab/share/there")
