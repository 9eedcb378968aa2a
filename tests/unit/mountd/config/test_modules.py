"""`vfs objects` and their options: had, left out aloud, or refused."""

from pathlib import Path

import pytest
from mountd_helpers import configuration

from usmbd.mountd.config import samba
from usmbd.mountd.errors import ConfigError


@pytest.mark.parametrize(
    ("modules", "acl", "streams", "notes"),
    [
        (
            "catia fruit streams_xattr",
            False,
            True,
            ["catia is left out"],
        ),
        ("acl_xattr", True, False, []),
        ("recycle", False, False, ["what clients delete is gone at once"]),
        ("shadow_copy2 full_audit:x acl_xattr", True, False, ["full_audit"]),
    ],
)
def test_modules(modules: str, acl: bool, streams: bool, notes: list[str]) -> None:
    config = configuration(f"[a]\npath = /tmp\nvfs objects = {modules}\n")
    share = config.find_share("a")
    assert share is not None
    assert (share.config.acl_xattr, share.config.streams_xattr) == (acl, streams)
    assert all(note in "".join(config.warnings) for note in notes)


@pytest.mark.parametrize("name", samba.REFUSED_MODULES)
def test_modules_that_would_open_something(name: str) -> None:
    with pytest.raises(ConfigError, match="vfs objects"):
        configuration(f"[a]\npath = /tmp\nvfs objects = acl_xattr {name}\n")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("shadow:snapdir = ../snapshots", "without `..`"),
        ("shadow:snapsharepath = a/../../b", "without `..`"),
        ("shadow:mountpoint = mnt", "absolute"),
        ("shadow:format = a/%Y%m%d%H%M%S", "no `/`"),
        ("shadow:format = %Y%m%d", "minute and second are needed"),
        ("shadow:format = %Q", "strptime"),
        ("shadow:format = daily", "are needed"),
        ("shadow:format = snap-%lu", "go together"),
        ("shadow:sscanf = yes", "go together"),
        ("shadow:localtime = sometimes", "localtime"),
    ],
)
def test_previous_versions_that_cannot_be(line: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        configuration(f"[a]\npath = /tmp\nvfs objects = shadow_copy2\n{line}\n")
    assert refused.value.line == 4


def test_folders_of_previous_versions_that_are_not_there(tmp_path: Path) -> None:
    """Nobody would see one, and nobody would know why."""
    begin = f"[a]\npath = {tmp_path}\nvfs objects = shadow_copy2\n"
    (tmp_path / "snaps").mkdir()
    for line, said in (
        ("shadow:mountpoint = /nope", ":4: [a]: shadow:mountpoint: /nope is not a directory (now)"),
        (
            f"shadow:snapdir = {tmp_path}/none",
            f":4: [a]: shadow:snapdir: {tmp_path}/none is not a directory (now)",
        ),
        (f"shadow:snapdir = {tmp_path}/snaps", ""),
        (f"shadow:mountpoint = {tmp_path}\nshadow:snapdir = snaps", ""),
        (f"shadow:mountpoint = {tmp_path}\nshadow:snapdir = none", f"{tmp_path}/none is not"),
        ("shadow:snapdir = .nope-of-nobody", ".nope-of-nobody is not a directory (now)"),
        ("", ""),
    ):
        warnings = "\n".join(configuration(begin + line + "\n").warnings)
        assert said in warnings if said else "shadow" not in warnings, line
    gone = begin.replace(str(tmp_path), "/not/there") + "shadow:snapdir = x\n"
    assert "shadow" not in "".join(configuration(gone).warnings)  # the path is told, once


def test_options_of_modules() -> None:
    config = configuration(
        "[a]\npath = /tmp\nfruit:encoding = native\nrecycle:keeptree = yes\n"
        "streams_xattr:prefix = user.DosStream.\n"
    )
    (warning,) = config.warnings
    assert "'fruit:encoding', 'recycle:keeptree' (line 4)" in warning
    for line, why in (
        ("streams_xattr:prefix = user.", "those that Samba has made are not seen"),
        ("fruit:locking = netatalk", "let no AFP server share the folder"),
        ("shadow:snapprefix = daily", "write it with its prefix as `shadow:format`"),
        ("shadow:crossmountpoints = yes", "snapshots are looked for in `shadow:snapdir` alone"),
    ):
        (warning,) = configuration(f"[a]\npath = /tmp\n{line}\n").warnings
        assert why in warning


def test_fruit_has_streams() -> None:
    """Smbd serves a share with the one alone, too."""
    config = configuration("[a]\npath = /tmp\nvfs objects = fruit\n")
    share = config.find_share("a")
    assert share is not None
    assert share.config.streams_xattr
    assert config.warnings == [
        "/etc/usmbd.conf:3: vfs objects: fruit needs streams_xattr: it is added"
    ]


@pytest.mark.parametrize("name", sorted(samba.MODULES))
def test_options_of_modules_that_are_not_had(name: str) -> None:
    """Whoever leaves a module out leaves out what it is told."""
    config = configuration(f"[a]\npath = /tmp\n{name}:some option = 7\n")
    assert "options of modules change nothing here" in "".join(config.warnings)


def test_modules_that_many_shares_leave_out_are_one_line() -> None:
    text = "".join(f"[{n}]\npath = /tmp\nvfs objects = catia\n" for n in "abc")
    (warning,) = configuration(text + "[d]\npath = /tmp\nvfs objects = acl_xattr\n").warnings
    assert ":3: vfs objects = catia: catia is left out (" in warning
    assert warning.endswith("(and lines 6, 9)")
