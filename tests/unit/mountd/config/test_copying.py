"""`copy`: a share that says what another does, in both forms of the file."""

from pathlib import Path

import pytest

from usmbd.mountd.config.load import Configuration, load

TEMPLATE = """
[template]
path = /srv
comment = of the template
writeable = yes
valid users = games, man; root
"""


def configuration(text: str, name: str = "usmbd.conf") -> Configuration:
    return load(Path("/etc/usmbd") / name, text)


def test_what_the_share_does_not_say_itself_is_copied() -> None:
    config = configuration(f"{TEMPLATE}[x]\nread only = yes\ncopy = Template\nguest ok = yes\n")
    template, share = config.find_share("template"), config.find_share("x")
    assert template is not None
    assert share is not None
    assert (share.config.path, share.config.comment) == ("/srv", "of the template")
    assert (template.config.read_only, share.config.read_only) == (False, True)
    assert list(share.access.valid_users) == ["games", "man", "root"]
    assert (template.config.guest_ok, share.config.guest_ok) == (False, True)


def test_what_comes_behind_counts_as_well() -> None:
    config = configuration(f"{TEMPLATE}[x]\ncopy = template\npath = /mnt\nvalid users =\n")
    share = config.find_share("x")
    assert share is not None
    assert share.config.path == "/mnt"
    assert not share.access.valid_users  # said to be nobody in particular


def test_copies_of_copies() -> None:
    config = configuration(f"{TEMPLATE}[x]\ncopy=template\n[y]\ncomment = y\ncopy = x\n")
    share = config.find_share("y")
    assert share is not None
    assert (share.config.path, share.config.comment) == ("/srv", "y")


@pytest.mark.parametrize(("own", "served"), [("", False), ("available = yes", True)])
def test_a_template_that_is_not_available(own: str, served: bool) -> None:
    config = configuration(f"{TEMPLATE}available = no\n[x]\ncopy = template\n{own}\n")
    assert config.find_share("template") is None
    assert (config.find_share("x") is not None) is served


def test_of_a_letter_each_has_its_own() -> None:
    config = configuration("[a]\npath = /srv\ncomment = that is %S\n[b]\ncopy = a\n")
    share = config.find_share("b")
    assert share is not None
    assert share.config.comment == "that is b"


def test_warnings_of_what_is_copied_are_told_once() -> None:
    said = "inherit acls = yes\nvfs objects = recycle\n"
    config = configuration(f"[a]\npath = /srv\n{said}[b]\ncopy = a\n")
    (ignored,) = [each for each in config.warnings if "inherit acls" in each]
    assert ignored.count("inherit acls") == 1
    (noted,) = [each for each in config.warnings if "recycle" in each]
    assert "and lines" not in noted


def test_in_yaml() -> None:
    config = configuration("shares: {a: {path: /srv, comment: c}, b: {copy: a}}", "usmbd.yaml")
    share = config.find_share("b")
    assert share is not None
    assert (share.config.path, share.config.comment) == ("/srv", "c")


def test_what_stands_before_the_first_section_is_global() -> None:
    config = configuration("workgroup = HOME\nread only = no\n[a]\npath = /srv\n")
    share = config.find_share("a")
    assert config.server.workgroup == "HOME"
    assert share is not None
    assert not share.config.read_only
