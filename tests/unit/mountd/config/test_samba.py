"""smb.conf as others write it: parameters are done, warned of, or refused with what to write."""

import pytest
from mountd_helpers import configuration

from usmbd.mountd.config import samba
from usmbd.mountd.config.load import Configuration
from usmbd.mountd.config.parameters import GLOBALS, SHARES
from usmbd.mountd.config.samba import FOREIGN, find_foreign
from usmbd.mountd.config.source import parameter_key
from usmbd.mountd.errors import ConfigError

# Those that distributions' own files have, or that decide who may do what.
IMPORTANT = """
access based share enum; admin users; available; bind interfaces only; browseable; case sensitive;
client min protocol; comment; copy; create mask; deadtime; default service; delete veto files;
directory mask; disable netbios; domain master; dont descend; ea support; encrypt passwords;
follow symlinks; force create mode; force directory mode; force group; force user; guest account;
guest ok; guest only; hide dot files; hide files; hide unreadable; hide unwriteable files;
hosts allow; hosts deny; idmap config * : backend; inherit acls; inherit permissions; interfaces;
invalid users; kerberos method; lanman auth; load printers; local master; log file; log level;
logging; logon path; map archive; map to guest; max connections; max log size; max protocol;
min protocol; msdfs root; netbios name; ntlm auth; null passwords; obey pam restrictions; os level;
pam password change; panic action; passdb backend; passwd chat; passwd program; path; preexec;
preexec close; printable; printcap name; printing; read list; read only; realm; restrict anonymous;
root preexec; security; server role; server signing; server string; smb encrypt; smb ports;
socket options; store dos attributes; strict sync; template shell; unix charset; unix extensions;
unix password sync; use sendfile; username map; usershare allow guests; usershare max shares;
valid users; veto files; vfs objects; wide links; winbind use default domain; wins support;
workgroup; write list; writeable
"""


@pytest.mark.parametrize("name", [" ".join(n.split()) for n in IMPORTANT.split(";")])
def test_every_parameter_is_known(name: str) -> None:
    key = parameter_key(name)
    assert key in GLOBALS or key in SHARES or find_foreign(name) is not None


def test_nothing_is_both_done_and_foreign() -> None:
    assert not FOREIGN.keys() & (GLOBALS.keys() | SHARES.keys())
    names = [n for text in samba.HARMLESS.values() for n in text.split(";")] + list(samba.REFUSED)
    keys = [parameter_key(name) for name in names]
    assert len(keys) == len(set(keys)), sorted(k for k in keys if keys.count(k) > 1)
    assert samba.SO_ANYWAY.keys() <= {foreign.name for foreign in FOREIGN.values()}
    assert len(FOREIGN) > 400


@pytest.mark.parametrize(
    "foreign", [f for f in FOREIGN.values() if f.harmless], ids=lambda f: f.name
)
def test_what_changes_nothing_is_warned_of(foreign: samba.Foreign) -> None:
    config = configuration(f"[global]\n{foreign.name} = something\n")
    assert config.warnings == [
        f"/etc/usmbd.conf:2: without effect: {foreign.name!r}: {foreign.reason}"
    ]


@pytest.mark.parametrize("name", samba.SO_ANYWAY)
def test_what_is_so_anyway_is_no_warning(name: str) -> None:
    value = samba.SO_ANYWAY[name][0]
    assert configuration(f"[global]\n{name} = {value}\n").warnings == []


@pytest.mark.parametrize("name", samba.REFUSED)
def test_what_would_open_or_hide_something_is_refused_with_what_to_write(name: str) -> None:
    values, instead = samba.REFUSED[name]
    for value in values:
        assert configuration(f"[global]\n{name} = {value}\n").warnings == []
    with pytest.raises(ConfigError) as caught:
        configuration(f"[global]\n{name} = something else\n")
    assert caught.value.message == f"{name} = something else: {instead}"


def test_the_warnings_of_one_reason_are_one_line() -> None:
    config = configuration("[global]\nlog file = /l\nos level = 20\nmax log size = 1\n")
    assert config.warnings == [
        "/etc/usmbd.conf:2: without effect: 'log file', 'max log size' (line 4): the log goes to"
        " standard error, as `log level` and `log json` say",
        "/etc/usmbd.conf:3: without effect: 'os level': there is no NetBIOS: no name service, no"
        " browsing elections, no WINS",
    ]


@pytest.mark.parametrize(
    ("line", "field", "value", "note"),
    [
        ("smb ports = 445 139", "tcp_port", 445, "139: not listened on, only 445"),
        ("smb ports = 139 445", "tcp_port", 445, "139: not listened on, only 445"),
        ("log level = 1 auth:3", "log_level", 1, "the level 1 holds for all areas"),
        ("min protocol = NT1", "min_protocol", 0x0202, "NT1 is not served: clients need SMB 2.0.2"),
        ("server min protocol = SMB2_24", "min_protocol", 0x0300, "SMB2_24 is taken for SMB3_00"),
        ("server max protocol = default", "max_protocol", 0x0311, ""),
        ("map to guest = Bad User", "map_to_guest", "bad user", ""),
        ("map to guest = bad uid", "map_to_guest", "bad uid", ""),
        ('interfaces = "eth0;speed=1000,capability=RSS"', "interfaces", ["eth0"], "speed=1000,"),
    ],
)
def test_values_that_are_taken_for_others(line: str, field: str, value: object, note: str) -> None:
    config = configuration(f"[global]\n{line}\n")
    assert getattr(config.server, field) == value
    assert len(config.warnings) == bool(note)
    assert all(note in warning for warning in config.warnings)


def test_sections_that_are_left_out_aloud() -> None:
    config = configuration(
        "[global]\n[printers]\npath = /var/spool\nprintable = yes\nread only = perhaps\n"
        "[print$]\npath = /var/lib/samba/printers\n[hp]\nprint ok = yes\npath = nowhere\n"
        "[off]\navailable = no\npath = /srv\n[on]\npath = /srv\navailable = yes\n"
    )
    assert sorted(config.shares) == ["ipc$", "on"]
    assert [warning.split(": ", 1)[1] for warning in config.warnings] == [
        "[printers] is left out: there are no printers",
        "[print$] is left out: there are no printers, and no drivers of theirs",
        "[hp] is left out: there are no printers",
        "[off] is left out: it says available = no",
    ]


def test_what_is_wrong_with_a_share_that_is_not_available_is_told() -> None:
    config = configuration(
        "[off]\navailable = no\nread only = perhaps\nrad only = yes\n"
        "[away]\navailable = no\npath = /nowhere\n[on]\npath = /srv\n"
    )
    assert sorted(config.shares) == ["ipc$", "on"]
    told = [warning.split(":", 1)[1] for warning in config.warnings]
    assert told[0] == "1: [off] is left out: it says available = no"
    wrong = [each for each in told if each.endswith("(once it is available)")]
    assert len(wrong) == 3  # the value, the name, and that there is no path
    assert any("has no path" in each for each in wrong)
    assert told[-1].endswith("[away] is left out: it says available = no")


# -- files of the shape that distributions and appliances have -------------------------------------

DEBIAN = """
[global]
   workgroup = WORKGROUP
;   interfaces = 127.0.0.0/8 eth0
   log file = /var/log/samba/log.%m
   max log size = 1000
   logging = file
   panic action = /usr/share/samba/panic-action %d
   server role = standalone server
   obey pam restrictions = yes
   unix password sync = yes
   passwd program = /usr/bin/passwd %u
   passwd chat = *Enter\\snew\\s*\\spassword:* %n\\n .
   pam password change = yes
   map to guest = bad user
   usershare allow guests = yes
[homes]
   comment = Home Directories
   browseable = no
   read only = yes
   create mask = 0700
   directory mask = 0700
   valid users = %S
[printers]
   comment = All Printers
   browseable = no
   path = /var/tmp
   printable = yes
   guest ok = no
   create mask = 0700
[print$]
   path = /var/lib/samba/printers
   write list = root, @lpadmin
"""
UBUNTU = DEBIAN.replace("WORKGROUP", "WORKGROUP\n   server string = %h server (Samba, Ubuntu)")
FEDORA = """
[global]
	workgroup = SAMBA
	security = user
	passdb backend = tdbsam
	printing = cups
	printcap name = cups
	load printers = yes
	cups options = raw
	include = /etc/samba/usershares.conf
[homes]
	comment = Home Directories
	valid users = %S, %D%w%S
	browseable = No
	read only = No
	inherit acls = Yes
[printers]
	printable = Yes
"""
ARCH = """
[global]
   workgroup = MYGROUP
   server string = Samba Server
   server role = standalone server
   log file = /usr/local/samba/var/log.%m
   max log size = 50
   dns proxy = no
   netbios name = box
[public]
   path = /srv/public
   public = yes
   only guest = yes
   writable = yes
   printable = no
"""
OPENSUSE = """
[global]
	workgroup = WORKGROUP
	passdb backend = tdbsam
	map to guest = Bad User
	include = /etc/samba/dhcp.conf
	logon path = \\\\%L\\profiles\\.msprofile
	logon home = \\\\%L\\%U\\.9xprofile
	logon drive = P:
	usershare allow guests = Yes
	usershare max shares = 100
[homes]
	comment = Home Directories
	valid users = %S
	read only = No
	inherit acls = Yes
[profiles]
	comment = Network Profiles Service
	path = %H
	read only = No
	store dos attributes = Yes
	create mask = 0600
[groups]
	comment = All groups
	path = /home/groups
	inherit acls = Yes
"""
OPENWRT = """
[global]
	netbios name = OpenWrt
	interfaces = br-lan lo
	server string = Samba on OpenWRT
	unix charset = UTF-8
	workgroup = WORKGROUP
	bind interfaces only = yes
	deadtime = 15
	enable core files = no
	invalid users = root
	local master = no
	map to guest = Bad User
	max protocol = SMB3
	min receivefile size = 16384
	null passwords = yes
	passdb backend = smbpasswd
	security = user
	smb passwd file = /etc/samba/smbpasswd
	use sendfile = yes
	disable spoolss = yes
	load printers = no
	printcap name = /dev/null
	smb encrypt = default
	socket options = TCP_NODELAY IPTOS_LOWDELAY
[share]
	path = /mnt/sda1
	create mask = 0666
	directory mask = 0777
	read only = no
	guest ok = yes
	force user = root
"""
RASPBERRY = """
[global]
   workgroup = WORKGROUP
   wins support = yes
   server min protocol = NT1
   map to guest = bad user
[pishare]
   comment = Pi on %L
   path = /home/pi/share
   browseable = yes
   writeable = Yes
   only guest = no
   create mask = 0777
   directory mask = 0777
   public = no
   vfs objects = catia fruit streams_xattr
   fruit:aapl = yes
   fruit:time machine = yes
"""
TRUENAS = """
[global]
	bind interfaces only = Yes
	disable spoolss = Yes
	dns proxy = No
	load printers = No
	logging = file
	max log size = 5120
	passdb backend = tdbsam:/var/run/samba-cache/private/passdb.tdb
	printcap name = /dev/null
	registry shares = No
	restrict anonymous = 2
	server multi channel support = No
	server string = TrueNAS Server
	winbind request timeout = 2
	idmap config * : range = 90000001 - 100000000
	fruit:nfs_aces = No
	rpc_server:mdssvc = disabled
	create mask = 0664
	directory mask = 0775
[tank]
	ea support = No
	path = /mnt/tank
	posix locking = No
	read only = No
	smbd max xattr size = 2097152
	vfs objects = streams_xattr shadow_copy_zfs ixnas zfs_core
	nfs4:chown = True
"""
SYNOLOGY = """
[global]
	printcap name = cups
	winbind enum groups = yes
	encrypt passwords = yes
	min protocol = SMB2
	security = user
	local master = no
	realm = *
	passdb backend = smbpasswd
	printing = cups
	max protocol = SMB3
	winbind enum users = yes
	load printers = yes
	workgroup = WORKGROUP
	syno catia = yes
	socket options = TCP_NODELAY
[photo]
	invalid users = nobody
	valid users = @users
	path = /volume1/photo
	comment = ""
	browseable = yes
	writable = yes
	vfs objects = syno_vfs recycle
	recycle:repository = #recycle
	csc policy = manual
	edit synoacl = no
"""
DOCKER = """
[global]
   server string = samba
   security = user
   log file = /dev/stdout
   max log size = 50
   log level = 0 auth:2
   dns proxy = no
   pam password change = yes
   map to guest = bad user
   usershare allow guests = yes
   create mask = 0664
   force create mode = 0664
   directory mask = 0775
   force directory mode = 0775
   load printers = no
   printing = bsd
   printcap name = /dev/null
   disable spoolss = yes
   strict locking = no
   aio read size = 0
   aio write size = 0
   vfs objects = catia fruit recycle streams_xattr
   client ipc max protocol = SMB3
   server max protocol = SMB3
   durable handles = yes
   smb2 leases = yes
   fruit:delete_empty_adfiles = yes
[mount]
   path = /mount
   browsable = yes
   read only = no
   guest ok = yes
   guest only = yes
   veto files = /.apdisk/.DS_Store/
   delete veto files = yes
   username map cache time = 0
"""


def read(text: str) -> Configuration:
    return configuration(text.replace("force user = root", "force user = nobody"), "smb.conf")


@pytest.mark.parametrize(
    ("text", "shares", "homes"),
    [
        (DEBIAN, [], True),
        (UBUNTU, [], True),
        (FEDORA, [], True),
        (ARCH, ["public"], False),
        (OPENSUSE, ["groups", "profiles"], True),
        (OPENWRT, ["share"], False),
        (RASPBERRY, ["pishare"], False),
        (TRUENAS, ["tank"], False),
        (SYNOLOGY, ["photo"], False),
        (DOCKER, ["mount"], False),
    ],
    ids=["debian", "ubuntu", "fedora", "arch", "opensuse", "openwrt", "raspberry", "truenas",
         "synology", "docker"],
)  # fmt: skip
def test_an_unmodified_file_is_served_with_warnings(
    text: str, shares: list[str], homes: bool
) -> None:
    config = read(text)
    assert sorted(config.shares) == sorted(["ipc$", *shares])
    assert (config.homes is not None) is homes
    assert config.warnings
    assert len(config.warnings) <= 14, config.warnings  # one for each reason


def test_what_such_a_file_says_is_done() -> None:
    docker = read(DOCKER).find_share("mount")
    assert docker is not None
    assert docker.access.guest_only
    assert (docker.config.create_mask, docker.config.force_directory_mode) == (0o664, 0o775)
    assert docker.config.veto_files == [".apdisk", ".DS_Store", "._*"]
    warnings = "\n".join(read(DOCKER).warnings)
    assert "smb2 leases" not in warnings
    assert "durable handles" not in warnings
    assert read(UBUNTU).server.server_string.endswith(" server (Samba, Ubuntu)")
    assert "%" not in read(UBUNTU).server.server_string
    openwrt = read(OPENWRT)
    assert (openwrt.server.deadtime, openwrt.server.max_protocol) == (900, 0x0311)
