"""Links of DFS as administrators change them: what is made on disk, and what is refused."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from usmbd.mountd.admin.dfs import change_link, list_links
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.config.load import load
from usmbd.mountd.ipc.administration import Result
from usmbd.mountd.ipc.dfs import MAX_TARGETS, AddTarget, DfsLink, RemoveTarget


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """Return a root with a folder and links, a proxy, and a share that is no root."""
    (tmp_path / "root/folder").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for name, text in {
        "link": "msdfs:fs1\\a,fs2\\b\\c",
        "folder/deep": "msdfs:/fs3/d",
        "out": "../outside",
        "plain": "folder",
    }.items():
        os.symlink(text, tmp_path / "root" / name)
    (tmp_path / "root/file").touch()
    text = (
        f"[root]\npath = {tmp_path}/root\nmsdfs root = yes\n[away]\nmsdfs proxy = \\fs9\\all\n"
        f"[plain]\npath = {tmp_path}/root\n"
    )
    return load(tmp_path / "usmbd.conf", text)


def add(share: str, path: str, target: str = "\\fs5\\e", *, new: bool = False) -> AddTarget:
    return AddTarget("man", share, path, target, new)


def test_lists(configuration: Configuration) -> None:
    assert sorted(list_links(configuration), key=lambda link: (link.share, link.path)) == [
        DfsLink("away", "", ["\\fs9\\all"]),
        DfsLink("root", "", []),
        DfsLink("root", "folder\\deep", ["\\fs3\\d"]),
        DfsLink("root", "link", ["\\fs1\\a", "\\fs2\\b\\c"]),
    ]
    assert [link.share for link in list_links(configuration, "AWAY")] == ["away"]
    assert list_links(configuration, "plain") == []


def test_a_users_own_share_is_not_worked_in(configuration: Configuration, tmp_path: Path) -> None:
    """Its folder may be a link to anywhere, and mountd is root."""
    root = configuration.shares["root"]
    users = msgspec.structs.replace(root.config, usershare=True)
    configuration.shares["root"] = replace(root, config=users)
    assert list_links(configuration, "root") == []
    assert change_link(configuration, add("root", "new")) is Result.NOT_FOUND
    assert not (tmp_path / "root/new").is_symlink()


def test_a_link_is_made_grows_and_goes(configuration: Configuration, tmp_path: Path) -> None:
    link = tmp_path / "root/folder/new"
    assert change_link(configuration, add("ROOT", "folder\\new", new=True)) is Result.DONE
    assert os.readlink(link) == "msdfs:fs5\\e"
    assert change_link(configuration, add("root", "folder\\new", "\\fs6\\f")) is Result.DONE
    assert os.readlink(link) == "msdfs:fs5\\e,fs6\\f"
    for again in (
        add("root", "folder\\new", "\\FS6\\F"),
        add("root", "folder\\new", "\\fs7\\g", new=True),
    ):
        assert change_link(configuration, again) is Result.EXISTS
    gone = RemoveTarget("man", "root", "folder\\new", "\\FS5\\e")
    assert change_link(configuration, gone) is Result.DONE
    assert change_link(configuration, gone) is Result.NOT_FOUND
    assert os.readlink(link) == "msdfs:fs6\\f"
    assert change_link(configuration, RemoveTarget("man", "root", "folder\\new")) is Result.DONE
    assert not link.is_symlink()
    assert sorted(os.listdir(tmp_path / "root/folder")) == ["deep"]  # nothing temporary is left


@pytest.mark.parametrize(
    ("wish", "result"),
    [
        (add("plain", "x"), Result.NOT_FOUND),
        (add("none", "x"), Result.NOT_FOUND),
        (add("away", "x"), Result.NOT_FOUND),
        (add("root", ""), Result.INVALID),
        (add("root", "..\\x"), Result.INVALID),
        (add("root", "x\ny"), Result.INVALID),
        (add("root", "x" * 300), Result.INVALID),
        (add("root", "none\\x"), Result.NOT_FOUND),
        (add("root", "plain\\x"), Result.NOT_FOUND),  # no link is followed
        (add("root", "out\\x"), Result.NOT_FOUND),
        (add("root", "file"), Result.EXISTS),
        (add("root", "folder"), Result.EXISTS),
        (add("root", "plain"), Result.EXISTS),
        (add("root", "x", "\\fs"), Result.INVALID),
        (add("root", "x", "\\a\\b,c\\d"), Result.INVALID),
        (RemoveTarget("man", "root", "none"), Result.NOT_FOUND),
        (RemoveTarget("man", "root", "file"), Result.EXISTS),
        (RemoveTarget("man", "root", "plain"), Result.EXISTS),
    ],
)
def test_what_is_refused(
    configuration: Configuration, tmp_path: Path, wish: AddTarget | RemoveTarget, result: Result
) -> None:
    before = sorted(os.listdir(tmp_path / "root"))
    assert change_link(configuration, wish) is result
    assert sorted(os.listdir(tmp_path / "root")) == before
    assert os.listdir(tmp_path / "outside") == []


def test_a_link_has_so_many_targets(configuration: Configuration) -> None:
    for number in range(MAX_TARGETS):
        wish = add("root", "many", f"\\fs{number}\\x")
        assert change_link(configuration, wish) is Result.DONE
    assert change_link(configuration, add("root", "many", "\\more\\x")) is Result.EXISTS
