"""The table of parameters: what holds where nothing is said, and how far numbers go."""

from usmbd.mountd.config.parameters import TABLE, Parameter
from usmbd.mountd.config.source import Entry

# README.md; smb.conf(5) and ksmbd.conf(5) where that says nothing
ON = """
change notify, kernel change notify, smb3 compression, server multi channel support, smb2 leases,
smb3 unix extensions, host msdfs, hide dot files, crossmnt, store dos attributes, ea support,
oplocks, durable handles, browseable, nt acl support, read only, fruit:aapl, fruit:nfs_aces,
fruit:posix_rename, fruit:zero_file_id, fruit:veto_appledouble, fruit:convert_adouble,
readdir_attr:aapl_rsize, readdir_attr:aapl_finder_info, readdir_attr:aapl_max_access, available,
multicast dns register, ws discovery, usershare owner only, -valid
"""
OFF = """
bind interfaces only, log json, smb3 directory leases, kerberos support, smbd:FSCTL_SMBTORTURE,
guest ok, case sensitive, hide unreadable, follow symlinks, kernel oplocks, posix locking,
continuous availability, msdfs root, compress data, msdfs shuffle referrals, shadow:localtime,
shadow:sscanf, shadow:fixinodes, fruit:copyfile, fruit:time machine,
fruit:wipe_intentionally_left_blank_rfork, fruit:delete_empty_adfiles, delete veto files,
delete readonly, guest only, printable, access based share enum, hide special files,
inherit permissions, usershare allow guests
"""
WORDS = {
    "G server string": "SMB SERVER",
    "G workgroup": "WORKGROUP",
    "G rdma": "auto",
    "G usershare path": "/var/lib/samba/usershares",
    "G guest account": "nobody",
    "G server signing": "auto",
    "G smb3 encryption": "auto",
    "G map to guest": "never",
    "G security": "user",
    "G server role": "standalone server",
    "G ntlm auth": "ntlmv2-only",
    "G kerberos method": "default",
    "S mangled names": "illegal",
    "S inherit owner": "no",
    "S slow": "auto",
    "S persistent handles durability": "data",
    "S server smb encrypt": "auto",
    "S shadow:snapdir": ".snapshots",
    "S shadow:format": "@GMT-%Y.%m.%d-%H.%M.%S",
    "S shadow:sort": "desc",
    "S fruit:metadata": "netatalk",
    "S fruit:resource": "file",
    "S fruit:model": "MacSamba",
}
NUMBERS = {
    "G tcp port": 445,
    "G usershare max shares": 0,
    "G smb2 max read": 8 << 20,
    "G smb2 max write": 8 << 20,
    "G smb2 max trans": 8 << 20,
    "G smb2 max credits": 8192,
    "G max open files": 10000,
    "G deadtime": 0,
    "G worker timeout": 15,
    "G keepalive": 120,
    "G ipc timeout": 0,
    "G restrict anonymous": 1,
    "G log level": 1,
    "G server min protocol": 0x0202,
    "G server max protocol": 0x0311,
    "G smbd max io size": 8 << 20,
    "G min domain uid": 1000,
    "G maximum password age": 0,
    "G minimum password age": 0,
    "G share:fake_fscaps": 0,
    "S max connections": 128,
    "S create mask": 0o744,
    "S directory mask": 0o755,
    "S force create mode": 0,
    "S force directory mode": 0,
    "S fruit:time machine max size": 0,
}
EMPTY = """
interfaces, state directory, data directory, dfs sites, comment, path, veto files, msdfs proxy,
username map, realm, dedicated keytab file, kerberos keytab file, kerberos service name,
winbind separator, root directory, vfs objects, shadow:mountpoint, shadow:basedir,
shadow:snapsharepath, force user, force group, valid users, invalid users, read list, write list,
admin users, hosts allow, hosts deny, hide files
"""
BOUNDS = {
    "G smb2 max read": (64 << 10, 8 << 20),
    "G smb2 max write": (64 << 10, 8 << 20),
    "G smb2 max trans": (64 << 10, 8 << 20),
    "G smb2 max credits": (1, 65535),
    "G max connections": (0, 65536),
    "G max ip connections": (0, 65536),
    "G max active sessions": (0, 65536),
    "G max open files": (1, 1 << 20),
    "G worker timeout": (0, 3600),
    "G keepalive": (0, 32767),
    "G ipc timeout": (0, 3600),
    "G restrict anonymous": (0, 2),
    "G smbd max io size": (512 << 10, 16 << 20),
    "G min domain uid": (0, 0xFFFFFFFF),
    "G maximum password age": (0, 999),
    "G minimum password age": (0, 999),
    "G share:fake_fscaps": (0, 0xFFFFFFFF),
    "S max connections": (0, 65536),
}
LONGEST = {"G netbios name": 15, "G workgroup": 15}
ROWS = {f"{row.scope.value} {row.name}": row for row in TABLE}


def words(text: str) -> set[str]:
    return {" ".join(word.split()) for word in text.split(",")}


def takes(row: Parameter, value: object) -> bool:
    """Whether a parameter may have a value."""
    try:
        row.parse(str(value))
    except ValueError:
        return False
    return True


def test_defaults() -> None:
    found = {key: row.default() for key, row in ROWS.items()}
    for texts, wanted in ((ON, True), (OFF, False)):
        of_these = {key[2:] for key, value in found.items() if value is wanted}
        assert not words(texts) - of_these
    for key, value in {**WORDS, **NUMBERS}.items():
        assert found.pop(key) == value, key
    nothing = {key[2:] for key, value in found.items() if value in ("", [])}
    assert not words(EMPTY) - nothing


def test_numbers_end_where_they_should() -> None:
    for key, (least, most) in BOUNDS.items():
        allowed = [takes(ROWS[key], number) for number in (least - 1, least, most, most + 1)]
        assert allowed == [False, True, True, False], key
    for key, longest in LONGEST.items():
        assert [takes(ROWS[key], "X" * count) for count in (longest, longest + 1)] == [True, False]


def test_names_that_say_the_contrary() -> None:
    row = ROWS["S read only"]
    for name, shown in (("read only", True), ("writable", False), ("write ok", False)):
        assert row.value(Entry(name, "yes", "smb.conf", 1)) is shown
