"""smb.conf as others write it: parameters are done, warned of, or refused with what to write."""

from pathlib import Path

import pytest
from mountd_helpers import configuration
from smbtest import smb_confs

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
def test_what_would_open_something_is_refused_with_what_to_write(name: str) -> None:
    values, instead = samba.REFUSED[name]

    def said(value: str) -> Configuration:
        # In YAML: `include` is none of the parameters in the other form.
        return configuration(f"global:\n  {name}: '{value}'\n", "usmbd.yaml")

    for value in values:
        assert said(value).warnings == []
    with pytest.raises(ConfigError) as caught:
        said("something else")
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
    assert len(wrong) == 2  # the value and the name
    assert told[-1].endswith("[away] is left out: it says available = no")


# -- files of the shape that distributions and appliances have -------------------------------------


@pytest.mark.parametrize("name", smb_confs.NAMES)
def test_an_unmodified_file_is_served_with_warnings(name: str, tmp_path: Path) -> None:
    text = smb_confs.text_of(name, tmp_path)
    config = configuration(text, "smb.conf")
    shares = [share.casefold() for share in smb_confs.shares_of(text)]
    assert sorted(config.shares) == sorted(["ipc$", *shares])
    assert (config.homes is not None) is ("[homes]" in text)
    assert config.warnings
    assert all("guest account" not in warning for warning in config.warnings if name != "libreelec")


def test_what_such_a_file_says_is_done(tmp_path: Path) -> None:
    def read(name: str) -> Configuration:
        return configuration(smb_confs.text_of(name, tmp_path), "smb.conf")

    docker = read("docker-dperson").find_share("public")
    assert docker is not None
    assert docker.config.guest_ok
    assert (docker.config.create_mask, docker.config.force_directory_mode) == (0o664, 0o775)
    assert docker.config.veto_files[:2] == [".apdisk", ".DS_Store"]
    assert docker.access.force_user == "nobody"
    vault = read("openmediavault").find_share("movies")
    assert vault is not None
    assert vault.access.write_list == ("nobody", "@nogroup")
    assert (vault.config.hide_special_files, vault.config.inherit_permissions) == (True, True)
    debian = read("debian").server.server_string
    assert debian.endswith(" server (Samba, Ubuntu)")
    assert "%" not in debian
    qnap = read("qnap").find_share("Network Recycle Bin 1")
    assert qnap is not None
    assert qnap.config.comment == "[RAID5 Disk Volume: Drive 1 2 3 4 5 6]"
    nixos = read("nixos")
    assert nixos.server.min_protocol == 0x0311
    assert nixos.shares["media"].access.force_user == "nobody"
    assert not nixos.shares["media"].config.nt_acl_support


def test_what_nobody_has_is_left_out_with_the_nearest_name() -> None:
    """But where somebody writes it now, and where it would decide who may do what."""
    share = "path = /tmp\ncommect = x\nworkgroup = Y\nfriut:aapl = no\nftp write only = no\n"
    assert [warning.split(": ", 1)[1] for warning in configuration("[a]\n" + share).warnings] == [
        "without effect: 'commect': neither usmbd nor Samba has such a parameter; did you mean"
        " 'comment'?",
        "without effect: 'workgroup': it belongs in [global]",
        "without effect: 'friut:aapl': neither usmbd nor Samba has such a module option; did you"
        " mean 'fruit:aapl'?",
        "without effect: 'ftp write only': neither usmbd nor Samba has such a parameter; did you"
        " mean 'write ok'?",
    ]
    for line in ("raed only = no", "valid usres = a b", "invlid users = c", "hosts alow = 10."):
        with pytest.raises(ConfigError, match="is not a parameter; did you mean"):
            configuration(f"[a]\npath = /tmp\n{line}\n")


@pytest.mark.parametrize("name", ["force group", "force user"])
def test_nobody_connects_as_who_is_not_there(name: str) -> None:
    text = f"[a]\npath = /tmp\n{name} = nobody of mine\n"
    (warning,) = (w for w in configuration(text).warnings if "nobody of mine" in w)
    assert warning.endswith("(now): nobody can connect")


def test_what_people_read_stays_where_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment that smbd would fill in keeps no server from its start; it opens nothing."""
    monkeypatch.setattr("socket.gethostname", lambda: "a-very-long-machine-name.example.org")
    found = configuration(
        "[global]\nserver string = %h, %T %%U %I\nnetbios name = %h\n"
        "[a]\npath = /t\ncomment = %S of %U, %T\n"
    )
    assert found.server.server_string == "a-very-long-machine-name, %T %U %I"
    assert found.server.netbios_name == "A-VERY-LONG-MAC"
    share = found.find_share("a")
    assert share is not None
    assert share.config.comment == "a of %U, %T"
    said = "\n".join(found.warnings)
    for each in ("%T stays as it is written: known are %h", "%U stays as it is written, but in"):
        assert each in said
    with pytest.raises(ConfigError, match="no substitutions such as %h"):
        configuration("[global]\nnetbios name = %h%U\n")
