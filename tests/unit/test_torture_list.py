"""The list of smbtorture's results: what counts as a difference."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from smbtest import torture_extras, torture_list
from smbtest.images import CannotMountError
from smbtest.server import Server
from smbtest.torture import Outcome, Smbtorture, by_ticket, wants_btrfs
from smbtest.torture_list import Row

PLACE = "read.c:10: status was NT_STATUS_OK, expected NT_STATUS_END_OF_FILE"
FAILED = Outcome("failure", 1.0, f"../../source4/torture/smb2/{PLACE}")
ROW = Row("failure", "failure", "a reason", PLACE, "read.c:20: other")


def test_a_place_is_without_what_varies() -> None:
    moments = (
        ("Sun Nov 29 04:12:50 2026 UTC", "266768591350000000 (0x3B3C09ED4A5E980)"),
        ("Mon Jan  1 23:59:00 2029 CET", "134403991687654693 (0x1DD7FB7E4EFED25)"),
    )
    first, second = (
        Outcome(
            "failure", 0.0, f"(../../source4/torture/smb2/a.c:7) {time}, {number}: fnum_test_8"
        ).place
        for time, number in moments
    )
    assert first == second == "(a.c:7) TIME, TIME: fnum_test_N"


def test_the_line_in_the_source_is_the_place() -> None:
    assert Outcome("failure", 0.0, "Unknown error\nmore\nsetinfo.c:117: wrong").place == (
        "setinfo.c:117: wrong"
    )
    assert Outcome("timeout", 0.0, "what it said last").place == "what it said last"
    assert Outcome("success", 0.0, "a.c:1: comment").place == ""


@pytest.mark.parametrize(
    ("outcome", "wrong"),
    [
        (FAILED, None),
        (FAILED._replace(reason="read.c:11: elsewhere"), "at another place"),
        (Outcome("success"), "passes, the list says failure"),
        (Outcome("timeout"), "timeout after 0.0 s instead of failure"),
    ],
)
def test_complaints(outcome: Outcome, wrong: str | None) -> None:
    said = torture_list.complaint("x", outcome, ROW)
    assert (said is None) if wrong is None else (said is not None and wrong in said)


def test_another_version_has_other_lines() -> None:
    moved = FAILED._replace(reason="read.c:11: moved")
    assert torture_list.complaint("x", moved, ROW, places=False) is None


def test_what_is_green_at_the_second_try_keeps_what_was_wrong() -> None:
    tries = [{"x": Outcome("timeout"), "y": FAILED}, {"x": FAILED}]
    outcomes = torture_list.judge(["x", "y"], lambda names: tries.pop(0), {"x": ROW, "y": ROW})
    assert outcomes["x"].retried.startswith("x: timeout")
    assert (outcomes["x"].place, outcomes["y"].retried) == (PLACE, "")


def test_a_difference_behind_two_failures_wants_a_reason() -> None:
    assert ROW.differs
    assert not ROW._replace(smbd_place=PLACE).differs
    assert Row("failure", "success").differs
    assert not Row("success", "failure").differs


def test_the_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# head (smbtorture (4.17.12)\n")
    rows = {"a": ROW, "b c": Row("success", "success"), "d": Row("skip", "skip", "", "p", "p")}
    torture_list.save(rows, path)
    assert torture_list.load(path) == rows
    assert torture_list.made_with(path) == "4.17.12"
    assert "    both: p\n" in path.read_text()
    assert set(torture_list.updated(rows, {"a": Outcome("success")})["a"]) == {
        *("success", "failure", ""),
        "read.c:20: other",
    }


def test_a_series_of_smbtorture_may_have_a_list_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common, own = tmp_path / "smbtorture-expected.txt", tmp_path / "smbtorture-expected-4.25.txt"
    own.touch()
    monkeypatch.setattr(torture_list, "PATH", common)
    assert torture_list.path_of("4.25.1") == own
    assert torture_list.path_of("4.2.5") == torture_list.path_of("") == common


def test_the_environment_names_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "smbtorture"
    program.write_text("#!/bin/sh\necho smbtorture 4.25.1-Debian\n")
    program.chmod(0o755)
    monkeypatch.setenv("SMBTORTURE", str(program))
    server = cast(Server, SimpleNamespace(state=tmp_path))
    assert Smbtorture(server).version() == "4.25.1"


def test_what_needs_more_than_ext4_and_passwords_is_in_the_list() -> None:
    rows = torture_list.load()
    assert sum(map(wants_btrfs, rows)) == 24
    assert sum(map(by_ticket, rows)) == 6


def test_where_nothing_can_be_mounted_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> None:
        raise CannotMountError(f"no {kind} here")

    monkeypatch.setattr(torture_extras, "mounted_image", refuse)
    server = cast(Server, SimpleNamespace(shares={}))
    with torture_extras.extras(server, ["smb2.lock.lock"]) as found:
        assert found == (None, "")
    with torture_extras.extras(server, ["smb2.ioctl.compress_perms"]) as found:
        assert found == (None, "no btrfs here")
    assert server.shares == {}
