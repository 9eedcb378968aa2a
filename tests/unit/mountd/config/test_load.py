"""Configurations: what they mean, and what is refused with which words."""

from pathlib import Path

import msgspec
import pytest
from mountd_helpers import configuration

from usmbd.mountd.config.load import load
from usmbd.mountd.config.parameters import GLOBALS, SHARES, TABLE, Parameter, Scope
from usmbd.mountd.errors import ConfigError, ConfigErrors, all_of
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.settings import Encryption, ServerConfig, ShareConfig, ShareType, Signing

# Fields that are put together from several parameters, or from none.
COMPOSED = {
    "backup_disks",
    "hidden",
    "dfs",
    "fixed",
    "fruit_model",
    "kerberos",
    "ntlm",
    "ntlmv1",
    "name",
    "type",
    "encryption_required",
    "acl_xattr",
    "streams_xattr",
    "fruit",
    "snapshots",
    "force_uid",
    "force_gid",
    "usershare",
    "persistent_handles",
}
# Defaults that depend on the machine.
LOCAL = {
    "netbios_name",
    "workers",
    "max_connections",
    "max_ip_connections",
    "max_active_sessions",
}


@pytest.mark.parametrize(
    ("scope", "structure"), [(Scope.GLOBAL, ServerConfig), (Scope.SHARE, ShareConfig)]
)
def test_the_table_fills_every_field_with_the_structure_s_default(
    scope: Scope, structure: type[msgspec.Struct]
) -> None:
    rows = {row.field: row for row in TABLE if row.scope is scope and row.field}
    fields = {field.name: field for field in msgspec.structs.fields(structure)}
    assert rows.keys() == fields.keys() - COMPOSED
    for name in rows.keys() - LOCAL:
        factory = fields[name].default_factory
        default = fields[name].default if factory is msgspec.NODEFAULT else factory()
        assert rows[name].default() == default, name


def test_every_name_is_in_one_row_of_its_scope() -> None:
    names = [n for row in TABLE for n in (row.name, *row.synonyms, *row.inverted)]
    assert len(GLOBALS) + len(SHARES) == len(names)


def test_an_example_of_ksmbd_is_read() -> None:
    config = configuration(
        "; see ksmbd.conf(5) for details\n[global]\n\t; global parameters\n"
        "\tbind interfaces only = no\n\tdeadtime = 2\n\tinterfaces = \n"
        "\tkerberos support = no\n\tmax open files = 10K\n\tserver min protocol = SMB3_00\n"
        "\tserver signing = mandatory\n\tshare:fake_fscaps = 64\n\tsmb2 max read = 1MB\n"
        "\tsmb3 encryption = enabled\n\tcreate mask = 0600\n\tread only = ; yes\n"
        "[Example]\n\tcomment = read only /tmp access\n\tpath = /tmp\n"
        "\tveto files = /a b/c*/\n\tvfs objects = acl_xattr\n"
        "[example]\n\twriteable = yes\n"
    )
    server = config.server
    assert (server.deadtime, server.max_open_files, server.min_protocol) == (120, 10240, 0x300)
    assert (server.signing, server.encryption) == (Signing.MANDATORY, Encryption.AUTO)
    assert server.smb2_max_read == 1024 * 1024
    share = config.find_share("EXAMPLE")
    assert share is not None
    assert (share.config.name, share.config.path) == ("Example", "/tmp")
    assert (share.config.create_mask, share.config.read_only) == (0o600, False)
    assert share.config.veto_files == ["a b", "c*"]
    assert (share.config.acl_xattr, share.config.streams_xattr) == (True, False)
    assert config.warnings == []


def test_yaml_says_the_same() -> None:
    ini = configuration(
        "[global]\nworkgroup = TEAM\nhosts allow = 127. 10.0.0.0/8\n"
        '[data]\npath = /tmp\ncreate mask = 0700\nwritable = yes\nvalid users = alice, "b c" @root'
    )
    text = (
        "global:\n  workgroup: TEAM\n  hosts_allow: [127., 10.0.0.0/8]\n"
        "shares:\n  data:\n    path: /tmp\n    create mask: 0700\n    writable: yes\n"
        "    valid users: [alice, b c, '@root']\n    comment:\n"
    )
    other = configuration(text, "usmbd.yaml")
    assert (other.server, other.hosts, other.shares) == (ini.server, ini.hosts, ini.shares)


@pytest.mark.parametrize("text", ["", "# nothing", "global:", "global:\nshares:\n", "shares: ~"])
def test_yaml_that_says_nothing(text: str) -> None:
    assert configuration(text, "usmbd.yaml").shares == configuration("", "usmbd.conf").shares


def test_ipc_is_always_there() -> None:
    share = configuration("[IPC$]\ncomment = pipes\nhosts deny = 10.").find_share("ipc$")
    assert share is not None
    assert (share.config.type, share.config.comment) == (ShareType.PIPE, "pipes")
    assert not share.access.hosts.admits("10.1.2.3")


def test_global_hosts_are_the_server_s_and_not_a_default() -> None:
    config = configuration("[global]\nhosts allow = 10.\n[data]\npath = /tmp\nhosts allow = 11.")
    share = config.find_share("data")
    assert share is not None
    assert [config.hosts.admits(a) for a in ("10.0.0.1", "11.0.0.1")] == [True, False]
    assert [share.access.hosts.admits(a) for a in ("10.0.0.1", "11.0.0.1")] == [False, True]


def test_the_first_value_counts_and_the_others_are_warned_of() -> None:
    text = "[a]\npath = /tmp\ncomment =\ncomment = x\ncomment = y\nbrowsable = no\nbrowseable = yes"
    share = configuration(text).find_share("a")
    assert share is not None
    assert (share.config.comment, share.config.browseable) == ("x", True)
    assert configuration(text).warnings == [
        "/etc/usmbd.conf:5: 'comment' does not count: line 4 has said it already",
        "/etc/usmbd.conf:6: 'browsable' does not count: line 7 has said it already",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("veto files = /a/", "veto files = /b/"),
        ("valid users = root", "valid users = nobody"),
        ("hosts allow = 10.", "allow hosts = 11."),
    ],
)
def test_of_who_may_do_what_a_section_says_one_thing(first: str, second: str) -> None:
    """Samba follows the last and ksmbd the first: one of the two opens the share."""
    with pytest.raises(ConfigError, match=r":4: .* says something else than line 3"):
        configuration(f"[a]\npath = /tmp\n{first}\n{second}")
    assert configuration(f"[a]\npath = /tmp\n{first}\n{first}").warnings == []


def test_names_that_nobody_has_are_told_and_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system may ask a directory of the network for each, and there may be 2,000 shares."""
    asked: list[str] = []

    class NoAccounts(Accounts):
        def __init__(self) -> None:
            self.privileged = True

        def exists(self, name: str) -> bool:
            asked.append(name)
            return False

        def find_group(self, name: str) -> None:
            asked.append("@" + name)

    monkeypatch.setattr("usmbd.mountd.config.load.Accounts", NoAccounts)
    share = "path = /tmp\nvalid users = nix @nought\n"
    assert configuration(f"[a]\n{share}[b]\n{share}").warnings == [
        f"/etc/usmbd.conf:{line}: valid users: there is no {what} (now)"
        for line in (3, 6)
        for what in ("account 'nix'", "group 'nought'")
    ]
    assert sorted(asked) == ["@nought", "nix"]


def test_a_list_of_users_names_them_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alice(Accounts):
        def __init__(self) -> None:
            self.privileged = True

        def exists(self, name: str) -> bool:
            return name == "alice"

    monkeypatch.setattr("usmbd.mountd.config.load.Accounts", Alice)
    found = configuration("[a]\npath = /tmp\nvalid users = ALICE Bob\n").warnings
    assert found == ["/etc/usmbd.conf:3: valid users: there is no account 'Bob' (now)"]


def test_required_encryption_of_a_share() -> None:
    share = configuration("[a]\npath = /tmp\nsmb encrypt = required").find_share("a")
    assert share is not None
    assert share.config.encryption_required


def test_the_root_directory_and_the_port() -> None:
    config = load(Path("/e.conf"), "[global]\nroot directory = /srv\n[a]\npath = /x/", tcp_port=999)
    share = config.find_share("a")
    assert share is not None
    assert (share.config.path, config.server.tcp_port) == ("/srv/x", 999)


def test_a_state_directory_of_one_s_own_holds_the_data_too() -> None:
    server = configuration("[global]\nstate directory = /tmp/x").server
    assert (server.state_directory, server.data_directory) == ("/tmp/x", "/tmp/x")


GLOBAL_ERRORS = [
    ("vaild users = x", "'vaild users' is not a parameter; did you mean 'valid users'?"),
    ("security = share", "security = share: 'share' is none of user, ads"),
    ("server role = classic", "server role = classic: 'classic' is none of standalone server"),
    ("ntlm auth = disabled", "ntlm auth = disabled: nobody could log in without Kerberos"),
    ("workers = -1", "workers = -1: -1 is not between 1 and 256"),
    ("tcp port = 0", "tcp port = 0: 0 is not between 1 and 65535"),
    ("tcp port = ten 139", "tcp port = ten 139: 'ten' is not a number"),
    ("max connections = 1" + "0" * 4000, "max connections = 1" + "0" * 4000 + ": a number from"),
    ("deadtime = ten", "deadtime = ten: 'ten' is not a number"),
    ("smb2 max read = 4XB", "smb2 max read = 4XB: '4XB' is not a number"),
    ("smb2 max read = 1K", "smb2 max read = 1K: 1K is not between 65536 and 8388608"),
    ("server signing = maybe", "server signing = maybe: 'maybe' is none of disabled, auto, enab"),
    ("server max protocol = NT1", "server max protocol = NT1: 'NT1' is none of SMB2_02"),
    ("map to guest = bad luck", "map to guest = bad luck: 'bad luck' is none of never, bad user"),
    ("netbios name = A23456789012345X", "netbios name = A23456789012345X: 1 to 15 characters"),
    ("state directory = run", "state directory = run: 'run' is not an absolute path"),
    ("interfaces = 10.0.0.0/99", "interfaces = 10.0.0.0/99: '10.0.0.0/99' is no interface"),
    ("workgroup = %D", "workgroup = %D: there are no substitutions such as %D here"),
    ("hosts allow = 300.1.1.", "hosts allow: '300.1.1.0' does not appear"),
    ("nonsense", "'nonsense' is neither [section] nor name = value"),
    ("= 1", "'= 1' is neither [section] nor name = value"),
    ("[data", "'[data' is not a section such as [share]"),
]


@pytest.mark.parametrize(("line", "message"), GLOBAL_ERRORS)
def test_errors_in_global(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration(f"[global]\n\n{line}\n")
    assert (caught.value.file, caught.value.line) == ("/etc/usmbd.conf", 3)
    assert caught.value.message.startswith(message) or "IPv4" in caught.value.message


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        *(("yes", "yes"), ("True", "yes"), ("1", "yes"), ("illegal", "illegal")),
        *(("no", "no"), ("off", "no"), ("0", "no")),
    ],
)
def test_mangled_names_in_the_words_of_samba(word: str, meaning: str) -> None:
    share = configuration(f"[a]\npath = /tmp\nmangled names = {word}\n").find_share("a")
    assert share is not None
    assert share.config.mangled_names == meaning


SHARE_ERRORS = [
    ("[a]\nmangled names = some", 2, "mangled names = some: 'some' is none of no, illegal, yes"),
    ("[a]\npath = tmp", 2, "path = tmp: 'tmp' is not an absolute path"),
    ("[a]\npath = /home/%a", 2, "path = /home/%a: %a is not known here, only %h, %v"),
    ("[a]\nread only = maybe", 2, "read only = maybe: 'maybe' is neither yes nor no"),
    ("[a]\ncreate mask = 0888", 2, "create mask = 0888: '0888' is not an octal mode"),
    ("[a]\nvfs objects = fruti", 2, "vfs objects = fruti: usmbd has no 'fruti', only acl_xattr"),
    ("[a]\nvfs objects = fruit worm", 2, "vfs objects = fruit worm: worm: files can be changed"),
    ("[a]\nvalid users = &net", 2, "valid users = &net: '&net': usmbd has no NIS netgroups"),
    ("[a]\npath = /tmp\nvalid users = D\\x", 3, "valid users: 'D\\\\x': without Kerberos"),
    ('[a]\nvalid users = "x', 2, 'valid users = "x: a quote is not closed'),
    ("[a]\nveto files = *.exe", 2, "veto files = *.exe: the names stand between slashes"),
    ("[" + "x" * 64 + "]\npath = /t", 1, "a share name has 1 to 63 bytes, this one 64"),
    ("[a/b]\npath = /t", 1, "'a/b' has characters that a share name cannot have"),
    ("[]\npath = /t", 1, "a share name has 1 to 63 bytes, this one 0"),
    ("[ipc$]\npath = /t", 2, "'path' has no meaning for IPC$"),
    ("[a]\npath=/t\ncopy = b\n[b]\npath=/t", 3, "copy = b: no section [b] stands before [a]"),
    ("[a]\npath=/t\ncopy = A", 3, "copy = A: no section [A] stands before [a]"),
    ("[global]\ncopy = a", 2, "copy = a: only a share of the configuration file copies"),
]


@pytest.mark.parametrize(("text", "line", "message"), SHARE_ERRORS)
def test_errors_in_shares(
    text: str, line: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root, whoever runs the tests: force user means something only there.
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ConfigError) as caught:
        configuration(text)
    (told,) = [each for each in all_of(caught.value) if each.line == line]
    assert told.message.startswith(message)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("global: [1]", 1, "global must be a mapping"),
        ("shares:\n  a:\n    path: {x: y}", 3, "a value must be text or a list of texts"),
        ("shares:\n  a: {path: /t}\n  A: {path: /t}", 3, "the share 'A' occurs twice"),
        ("global:\n  workgroup: A\n  workgroup: B", 3, "'workgroup' occurs twice"),
        ("sahres: {}", 1, "'sahres' is not known here: only global and shares"),
        ("global: {a: [", 1, "expected the node content"),
        ("global:\n  read only: [a, b]", 2, "read only = a, b: one value is wanted, not a list"),
        ("[" * 2000, 0, "not YAML"),
        ("shares:\n  ? [a]\n  : {path: /t}", 2, "a key must be text"),
        ("shares:\n  data: text", 2, "data must be a mapping"),
        ("a: 1\n---\nb: 2", 2, "expected a single document in the stream, but found another"),
        ("global:\n  include: more.yaml", 2, "include = more.yaml: only a file in the syntax of"),
        ("shares:\n  Global: {path: /t}", 2, "'Global' is no share: its place is beside `shares`"),
    ],
)
def test_errors_in_yaml(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration(text, "usmbd.yml")
    told = [each for each in all_of(caught.value) if message in each.message]
    assert [each.line for each in told] in ([line], [2] if line == 1 else [line])


def test_all_errors_in_yaml_are_told_at_once() -> None:
    text = """\
other: 1
global:
  workgroup: A
  workgroup: B
  guest onyl: 3
  log level: {a: b}
shares:
  s: text
  t:
    path: /t
    path: /u
    raed only: maybe
"""
    with pytest.raises(ConfigError) as caught:
        configuration(text, "usmbd.yml")
    said = [line.split(":")[1] for line in str(caught.value).split("\n")]
    assert sorted(map(int, said)) == [1, 4, 5, 6, 8, 11, 12]


def test_aliases_do_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 30):
        lines.append(f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]")
    with pytest.raises(ConfigError):
        configuration("\n".join(lines), "usmbd.yaml")


def test_includes(tmp_path: Path) -> None:
    main = tmp_path / "main.conf"
    (tmp_path / "more.conf").write_text("writable = yes\n[b]\npath = /tmp\nvalid user = 1\n")
    main.write_text("[a]\npath = /tmp\ninclude = more.conf\n")
    with pytest.raises(ConfigError) as caught:
        load(main)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "more.conf"), 4)
    (tmp_path / "more.conf").write_text("writable = yes\n[b]\npath = /tmp\n")
    shares = load(main).shares
    assert sorted(shares) == ["a", "b", "ipc$"]
    assert not shares["a"].config.read_only


@pytest.mark.parametrize("name", ["main.conf", "unreadable.conf", "m%min.conf"])
def test_includes_that_cannot_be(tmp_path: Path, name: str) -> None:
    main = tmp_path / "main.conf"
    (tmp_path / "unreadable.conf").mkdir()
    main.write_text(f"[a]\npath = /tmp\ninclude = {name}\n")
    with pytest.raises(ConfigError) as caught:
        load(main)
    assert (caught.value.file, caught.value.line) == (str(main), 3)


def test_an_include_that_is_not_there_is_left_out_aloud(tmp_path: Path) -> None:
    main = tmp_path / "main.conf"
    main.write_text("[a]\npath = /tmp\ninclude = missing.conf\n")
    config = load(main)
    assert config.find_share("a")
    assert config.warnings == [
        f"{main}:3: include = missing.conf: there is no such file: it is left out"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.conf.%m", "include = x.conf.%m: no client has such a file: it is left out"),
        ("registry", "include = registry: usmbd's own is always read (`net rpc conf import`)"),
    ],
)
def test_includes_that_say_nothing_are_left_out_aloud(tmp_path: Path, name: str, said: str) -> None:
    main = tmp_path / "main.conf"
    main.write_text(f"[a]\npath = /tmp\ninclude = {name}\n")
    assert load(main).warnings == [f"{main}:3: {said}"]
    (tmp_path / "x.conf.client").touch()
    if "%" in name:
        with pytest.raises(ConfigError, match="not the same for all clients"):
            load(main)


def test_all_errors_are_told_at_once() -> None:
    text = (
        "[global]\nworkers = many\nnonsense\nsever signing = X\n[a]\npath = tmp\n"
        "[b]\nread only = maybe\ncreate mask = 9\n[c/d]\npath = /tmp\nhosts allow = 300.1.1.\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        configuration(text)
    assert [error.line for error in caught.value.errors] == [2, 3, 4, 6, 8, 9, 10]
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    assert all(line.startswith("/etc/usmbd.conf:") for line in lines)


def test_a_share_with_a_wrong_value_is_read_to_its_end() -> None:
    """What is found last is told with the rest, not by the next attempt."""
    text = "[a]\npath = tmp\nhosts allow = 1.2.3.4/99\nvfs objects = shadow_copy2\n"
    with pytest.raises(ConfigErrors) as caught:
        configuration(f"{text}shadow:format = %s.%Q\n")
    assert [error.line for error in caught.value.errors] == [2, 3, 5]


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    for data, line in ((b"[a]\npath = /\xff", 2), (b"[a]\n\0", 2)):
        path.write_bytes(data)
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.line == line
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.conf")


def test_continued_lines_and_comments() -> None:
    config = configuration("[a]\ncomment = one \\\n  two\npath = /srv/a#b ; note\n# path = /x \\\n")
    share = config.find_share("a")
    assert share is not None
    assert (share.config.comment, share.config.path) == ("one two", "/srv/a#b")


MEASURED = {"netbios name", "max connections", "max ip connections", "max active sessions"}
"""Of [global]: what the machine says, and what is worked out of its memory."""


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.scope.name} {row.name}")
def test_defaults_of_the_table_are_those_of_the_settings(row: Parameter) -> None:
    """Tests make settings without a file; a default has two places, and one value."""
    kind = ServerConfig if row.scope is Scope.GLOBAL else ShareConfig
    field = {each.name: each for each in msgspec.structs.fields(kind)}.get(row.field)
    if field is None or field.required:
        return
    if row.scope is Scope.SHARE or row.name not in MEASURED:
        value = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            value = field.default_factory()
        assert row.default() == value


@pytest.mark.parametrize(
    ("line", "samba"),
    [
        ("path = /tmp ;b", "/tmp ;b"),
        ("path = /tmp\ncomment = # one", "# one"),
        ("path = /tmp\nhosts deny = 10.1. ; 10.2.", "10.1. ; 10.2."),
        ("path = /tmp\nread only = ; yes", ""),
        ("path = /tmp\nmax connections = 5 # no more", ""),
        ('path = "/tmp" ; ours\nread only = no # yes', ""),
        ("path = /tmp\nread only = no # no", ""),
    ],
)
def test_comments_that_are_none_for_samba(line: str, samba: str) -> None:
    """As ksmbd has them: told where Samba would take them for a part of the value."""
    told = [each for each in configuration(f"[a]\n{line}\n").warnings if "comment begins" in each]
    assert len(told) == bool(samba)
    assert samba in "".join(told)


def test_errors_are_in_the_order_of_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "usmbd.conf"
    (tmp_path / "a").write_text("[x]\nwrong\n")
    path.write_text(
        "[global]\ninclude = a\nhosts allow = 1.2.3.4/99\ntcp port = x\nkerberos method = dedicated"
        " keytab\n[b]\npath = no\n[c]\nmore\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        load(path)
    places = [(Path(each.file).name, each.line) for each in caught.value.errors]
    main = [line for name, line in places if name == "usmbd.conf"]
    assert main == sorted(main)
    assert len(main) >= 4
    assert places[-1] == ("a", 2)
