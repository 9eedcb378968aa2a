"""Samba's substitutions, where they stand and what they cannot do."""

import socket

import pytest
from mountd_helpers import FakeAccounts, configuration, tree

from usmbd.mountd.config.load import Configuration
from usmbd.mountd.homes import find_share
from usmbd.mountd.ipc.messages import TreeConnectResponse, TreeStatus
from usmbd.mountd.ipc.version import version
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.rpc.configuration import describe
from usmbd.mountd.shares import decide
from usmbd.mountd.substitute import expand, expand_path, letters_of
from usmbd.mountd.users import UserTable

USERS = UserTable({name: nt_hash(name) for name in ("alice", "bob", "root", "..", "a/b")})


def connect(
    config: Configuration, share: str = "a", user: str = "alice", **request: object
) -> TreeConnectResponse:
    accounts = FakeAccounts()
    found = find_share(config, share, user, USERS, accounts)
    ask = tree(share, user, server_address="192.0.2.9", **request)
    return decide(ask, found, config.server, config.hosts, accounts)


def path_of(config: Configuration, *args: str, **request: object) -> str:
    answer = connect(config, *args, **request)
    assert answer.status is TreeStatus.OK, answer.status
    assert answer.share is not None
    return answer.share.path


def test_what_they_mean() -> None:
    assert expand("100%% %U%x %", {"U": "alice"}) == "100% alice%x %"
    assert letters_of("%%U %S %$(HOME) %") == ["S", "$"]


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE", "north")
    assert expand("/srv/%$(SITE)/%$(NONE)x", {}) == "/srv/north/x"


@pytest.mark.parametrize("value", ["..", ".", "", "a/b", "x\0"])
def test_a_name_of_a_client_leads_nowhere_else(value: str) -> None:
    with pytest.raises(ValueError, match="no name of a folder"):
        expand_path("/srv/%U", {"U": value})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/%S/%U", "/srv/a/alice"),
        ("/srv/%u-%G-%g", "/srv/alice-alices-group101"),
        ("%H/pub", "/home/alice/pub"),
        ("/srv/%I/%m/%M", "/srv/192.0.2.1/192.0.2.1/192.0.2.1"),
        ("/srv/%i", "/srv/192.0.2.9"),
        ("/srv/%L/%D", "/srv/BOX/TEAM"),
        ("/srv/100%%/%U", "/srv/100%/alice"),
        ("/srv/100%%U", "/srv/100%U"),
        ("/srv/%h", "/srv/" + socket.gethostname().split(".")[0]),
    ],
)
def test_in_a_path(path: str, expected: str) -> None:
    config = configuration(f"[global]\nnetbios name = BOX\nworkgroup = TEAM\n[a]\npath = {path}\n")
    assert path_of(config) == expected


def test_in_a_path_behind_the_root_directory() -> None:
    config = configuration("[global]\nroot directory = /jail\n[a]\npath = /srv/%U\n")
    assert path_of(config) == "/jail/srv/alice"


def test_a_user_whose_name_is_no_folder_is_not_let_in() -> None:
    config = configuration("[a]\npath = /srv/%U\nforce user = nobody\n")
    assert connect(config, user="..").status in (TreeStatus.NO_SHARE, TreeStatus.NO_USER)
    assert connect(config, user="alice", guest=True).status is TreeStatus.INVALID_USER


def test_in_lists() -> None:
    config = configuration("[alice]\npath = /srv\nvalid users = %S\n[b]\npath=/t\ninvalid users=%U")
    assert connect(config, "alice").status is TreeStatus.OK
    assert connect(config, "alice", "bob").status is TreeStatus.INVALID_USER
    assert connect(config, "b", "bob").status is TreeStatus.INVALID_USER


def test_in_force_user_and_force_group() -> None:
    config = configuration("[bob]\npath = /srv/%u\nforce user = %S\n[x]\npath=/t\nforce user=%S")
    answer = connect(config, "bob")
    assert (answer.status, answer.uid) == (TreeStatus.OK, 1002)
    assert path_of(config, "bob") == "/srv/bob"
    assert connect(config, "x").status is TreeStatus.NO_USER
    config = configuration("[staff]\npath = /srv\nforce group = %S\n[y]\npath=/t\nforce group=%S")
    assert connect(config, "staff").gid == 500
    assert connect(config, "y").status is TreeStatus.NO_USER


def test_force_user_and_force_group_of_who_is_not_there() -> None:
    """He may come later; until then nobody connects, as with smbd."""
    for name in ("force user", "force group"):
        config = configuration(f"[a]\npath = /t\n{name} = later\n")
        assert connect(config, "a").status is TreeStatus.NO_USER
    config = configuration("[a]\npath = /t\nforce group = +staff\n")
    assert [connect(config, "a", user).gid for user in ("alice", "bob")] == [500, 102]
    config = configuration("[a]\npath = /t\nforce group = +%S\n[staff]\ncopy = a\n")
    assert connect(config, "a").status is TreeStatus.NO_USER
    assert connect(config, "staff").gid == 500


def test_in_comments_and_the_server_string() -> None:
    config = configuration(
        "[global]\nnetbios name = BOX\nserver string = %L (%v)\n[a]\npath = /t\ncomment = %S on %L"
        "\n[b]\npath = /srv/%v/%U\ncomment = %v %% %w %h %D %%S\n[IPC$]\ncomment = %v of %S"
    )
    share = config.find_share("a")
    assert share is not None
    assert share.config.comment == "a on BOX"
    assert config.server.server_string.startswith("BOX (")
    assert "%" not in config.server.server_string
    host = socket.gethostname().partition(".")[0]
    assert config.shares["b"].config.comment == f"{version()} % \\ {host} WORKGROUP %S"
    assert config.shares["ipc$"].config.comment == f"{version()} of IPC$"
    assert path_of(config, "b") == f"/srv/{version()}/alice"


# -- homes ----------------------------------------------------------------------------------------


def test_in_the_comment_of_a_home() -> None:
    config = configuration("[homes]\npath = /srv/%v/%S\ncomment = %v of %U, not %%U")
    told = describe(config, [], FakeAccounts(), 0).homes
    assert told is not None
    assert told.comment == f"{version()} of %U, not %U"
    found = find_share(config, "alice", "alice", USERS, FakeAccounts())
    assert found is not None
    assert found.config.comment == f"{version()} of alice, not %U"
    assert path_of(config, "alice") == f"/srv/{version()}/alice"


HOMES = "[homes]\ncomment = Home of %U\nread only = no\nbrowseable = no\n"


def test_homes_are_where_the_system_says() -> None:
    config = configuration(HOMES)
    assert path_of(config, "alice") == "/home/alice"
    assert path_of(config, "ALICE") == "/home/alice"
    answer = connect(config, "homes")
    assert answer.share is not None
    assert (answer.share.name, answer.share.comment) == ("alice", "Home of alice")
    assert answer.writable


@pytest.mark.parametrize(
    ("share", "user"),
    [
        ("bob", "bob"),  # has no home directory
        ("nobody", "alice"),  # an account of the system, but no user of ours
        ("carol", "carol"),
        ("homes", ""),
    ],
)
def test_who_has_no_home(share: str, user: str) -> None:
    assert connect(configuration(HOMES), share, user).status is TreeStatus.NO_SHARE


def test_a_section_comes_before_a_home() -> None:
    config = configuration(HOMES + "[alice]\npath = /srv/alice\n")
    assert path_of(config, "alice") == "/srv/alice"


def test_whose_homes_are_open_to_whom() -> None:
    config = configuration(HOMES)
    assert path_of(config, "alice", "root") == "/home/alice"  # the files' modes decide
    config = configuration(HOMES + "valid users = %S\npath = /data/%S\n")
    assert connect(config, "alice", "root").status is TreeStatus.INVALID_USER
    assert path_of(config, "alice") == "/data/alice"


def test_without_homes_there_are_none() -> None:
    assert connect(configuration("[global]\n"), "alice").status is TreeStatus.NO_SHARE
    assert connect(configuration("[global]\n"), "homes").status is TreeStatus.NO_SHARE


def test_everybody_is_the_guest_where_it_says_so() -> None:
    config = configuration("[a]\npath = /srv\nguest ok = yes\nguest only = yes\n")
    answer = connect(config)
    assert (answer.uid, answer.guest) == (65534, True)
    config = configuration("[a]\npath = /srv\nonly guest = yes\n")
    answer = connect(config)
    assert (answer.status, answer.uid, answer.guest) == (TreeStatus.OK, 1001, False)
    assert connect(config, guest=True).status is TreeStatus.INVALID_USER
    assert ":3: [a]: only guest = yes: without effect" in "".join(config.warnings)
