"""Values that do not go together."""

import pytest
from mountd_helpers import configuration

from usmbd.mountd.errors import ConfigError

SHARE = "[s]\npath = /tmp\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            f"[global]\nserver max protocol = SMB2_10\nsmb encrypt = required\n{SHARE}",
            3,
            "smb encrypt = required: nobody can encrypt",
        ),
        (f"[global]\nguest account = no one\n{SHARE}", 2, "guest account = no one: there is no"),
        (f"{SHARE}guest account = no one\n", 3, "guest account = no one: there is no such account"),
        (
            f'{SHARE}write list = "@D\\all of us"\n',
            3,
            "write list: '@D\\\\all of us': without Kerberos",
        ),
        (f"[global]\nadmin users = D\\x\n{SHARE}", 2, "admin users: 'D\\\\x': without Kerberos"),
    ],
)
def test_what_shuts_everybody_out_is_an_error(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration(text)
    assert message in str(caught.value)
    assert f":{line}: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [(f"[global]\nguest account = root\n{SHARE}", 2), (f"{SHARE}guest account = root\n", 3)],
)
def test_guests_are_never_root(text: str, line: int) -> None:
    """Where smbd takes it; it says who they are instead."""
    (warning,) = configuration(text).warnings
    assert f":{line}: " in warning
    assert warning.endswith("guest account = root: strangers never act as root, but as nobody")


def test_names_of_a_domain_are_taken_with_kerberos() -> None:
    text = f"[global]\nkerberos method = system keytab\n{SHARE}valid users = D\\x, @D\\all\n"
    share = configuration(text).shares["s"]
    assert share.access.valid_users == ("D\\x", "@D\\all")


def test_a_share_that_nobody_reaches_is_told() -> None:
    text = f"[global]\nserver max protocol = SMB2_10\n{SHARE}server smb encrypt = required\n"
    assert "nobody can encrypt" in "".join(configuration(text).warnings)


def test_data_that_nothing_compresses_is_told() -> None:
    found = configuration(f"[global]\nsmb3 compression = no\n{SHARE}compress data = yes\n")
    assert "nothing is compressed" in "".join(found.warnings)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("state directory = /run/other", True),
        ("state directory = /run/other\ndata directory = /var/lib/other", False),
        ("state directory = /run/other\npersistent handles durability = none", False),
    ],
)
def test_handles_that_a_boot_loses_are_told(said: str, *, told: bool) -> None:
    found = configuration(f"[global]\n{said}\n{SHARE}continuous availability = yes\n")
    assert ("`data directory = /folder` keeps them" in "".join(found.warnings)) is told


def test_shares_that_are_continuously_available_keep_their_names() -> None:
    text = "continuous availability = yes\ndata directory = /var/lib/other\n"
    found = configuration(f"[global]\n{text}[a]\npath = /tmp\n[B]\npath = /tmp\n")
    assert [found.shares[key].config.name for key in "ab"] == ["a", "B"]


@pytest.mark.parametrize("name", ["globl", "Globel", "gloabl"])
def test_a_mistyped_global_section(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configuration(f"[{name}]\ntcp port = 4445\nworkgruop = W\n{SHARE}")
    assert str(caught.value).endswith(f":1: [{name}] has no path: did you mean [global]?")


def test_guests_that_nobody_lets_in() -> None:
    share = "[a]\npath = /tmp\nguest ok = yes\n"
    for line in ("server signing = mandatory", "smb3 encryption = required"):
        warnings = "".join(configuration(f"[global]\n{line}\n{share}").warnings)
        assert ":5: [a]: guest ok: no guest is let in" in warnings
        warnings = "".join(configuration(f"[global]\n{line}\n{share}guest only=yes\n").warnings)
        assert ":6: [a]: guest only: no guest is let in" in warnings
        assert "guest" not in "".join(configuration(f"[global]\n{line}\n[a]\npath=/\n").warnings)
    warnings = "".join(configuration(f"{share}server smb encrypt = required\n").warnings)
    assert "no guest is let in" in warnings
    assert "no guest" not in "".join(configuration(share).warnings)
