"""`make lab`, with programs in place of apt and make that are done at once."""

import os
import platform
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lab_run
import pytest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="no lab there")

PREPARE = Path(lab_run.__file__).parents[2] / "lab/kernel/prepare.sh"

PROGRAMS = {
    "apt-get": """case "$*" in
  *update) [ -z "${NETWORK-x}" ] || touch "$LISTS/deb_Packages" ;;
  *download*) touch source.deb tools.deb ;;
esac""",
    "apt-cache": """case "$*" in
  *search*) printf 'linux-source-%s - x\\n' 6.12 7.3 ;;
  *policy*) echo ' Candidate: 1' ;;
esac""",
    "dpkg-deb": """mkdir -p "$3"/usr/{sbin,libexec,src} "$3/x"
cd "$3/x"
for series in 6.12 7.3; do
  mkdir -p linux-source-$series/{scripts,arch/x86/um}
  touch linux-source-$series/arch/x86/um/user-offsets.c
  cp "$CONFIG" linux-source-$series/scripts/config
  tar -cf ../usr/src/linux-source-$series.tar.xz linux-source-$series
done""",
    "config": """while [ $# -gt 0 ]; do
  case "$1" in
    -e) echo "CONFIG_$2=y"; shift 2 ;;
    -d) shift 2 ;;
    *) echo "CONFIG_$2=$3"; shift 3 ;;
  esac
done >.config""",
    "make": """out=$2
case "$*" in
  *tinyconfig) mkdir -p "${5#O=}" ;;
  *kernelrelease) echo 1.2.3 ;;
  *linux) echo $$ >>"$MADE"; ${MAKES:-true} && cp /bin/true "$out/linux" ;;
esac""",
}
"""Each for its calls in lab/kernel/prepare.sh."""


@pytest.fixture
def cache() -> Iterator[Path]:
    """Make a cache, where the lab can have one."""
    if any(Path.home().is_relative_to(hidden) for hidden in lab_run.HIDDEN):
        pytest.skip("guests have their own of this folder")
    with tempfile.TemporaryDirectory(dir=Path.home(), prefix=".lab-test-") as folder:
        yield Path(folder)


def start(tmp_path: Path, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the preparation."""
    programs = tmp_path / "bin"
    if not programs.exists():  # else another preparation may be reading them
        programs.mkdir()
        for name, script in PROGRAMS.items():
            (programs / name).write_text(f"#!/bin/bash\n{script}\n")
            (programs / name).chmod(0o755)
    own = {
        "USMBD_LAB_CACHE": str(cache),
        "LISTS": str(cache / "apt/lists"),
        "CONFIG": str(programs / "config"),
        "MADE": str(tmp_path / "made"),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    return subprocess.Popen(
        [PREPARE],
        env=os.environ | {"KERNEL": ""} | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def prepare(tmp_path: Path, cache: Path, **environment: str) -> tuple[int, str, str]:
    """Prepare; return the exit status, the last part of the directory, what was said."""
    process = start(tmp_path, cache, **environment)
    out, said = process.communicate()
    if "needs packages" in said or " MiB in " in said:
        pytest.skip(said)  # root has to install them, or somebody to make room
    return process.returncode, Path(out.strip()).name.rpartition("-")[0], said


def test_the_newest_kernel_is_built_beside_one_that_was_asked_for(
    tmp_path: Path, cache: Path
) -> None:
    assert prepare(tmp_path, cache, KERNEL="6.12")[:2] == (0, "linux-6.12")
    assert prepare(tmp_path, cache)[:2] == (0, "linux-7.3")
    (tmp_path / "made").unlink()
    assert prepare(tmp_path, cache)[:2] == (0, "linux-7.3")
    assert not (tmp_path / "made").exists()


def test_two_at_once_build_once(tmp_path: Path, cache: Path) -> None:
    both = [start(tmp_path, cache) for _ in range(2)]
    first, second = (process.communicate()[0] for process in both)
    assert first == second
    assert [process.returncode for process in both] == [0, 0]
    assert len((tmp_path / "made").read_text().splitlines()) == 1


def test_one_that_was_asked_for_may_be_the_newest(tmp_path: Path, cache: Path) -> None:
    assert prepare(tmp_path, cache, KERNEL="7.3")[:2] == (0, "linux-7.3")
    (tmp_path / "made").unlink()
    for _ in range(2):
        assert prepare(tmp_path, cache)[:2] == (0, "linux-7.3")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"NETWORK": ""}, "is there a way to the mirror"),
        ({"KERNEL": "5.9"}, "there is no linux-source-5.9"),
        ({"KERNEL": "*"}, "KERNEL is a series, such as 6.12"),
        ({"MAKES": "false"}, "Linux 7.3 does not build"),
        ({"USMBD_LAB_CACHE": "/proc/lab"}, "set USMBD_LAB_CACHE"),
        ({"USMBD_LAB_CACHE": "/var/tmp/lab"}, "set USMBD_LAB_CACHE"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told(
    tmp_path: Path, cache: Path, environment: dict[str, str], told: str
) -> None:
    status, _, said = prepare(tmp_path, cache, **environment)
    assert status == 1
    assert told in said.splitlines()[-1]
    assert not list(cache.glob("work.*"))


def test_nothing_goes_on_after_an_interruption(tmp_path: Path, cache: Path) -> None:
    """What a shell starts beside itself ignores the terminal's ^C."""
    os.mkfifo(tmp_path / "made")
    process = start(tmp_path, cache, MAKES="exec sleep 600")
    maker = os.pidfd_open(int((tmp_path / "made").read_text()))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    try:
        with pytest.raises(ProcessLookupError):
            signal.pidfd_send_signal(maker, 0)
    finally:
        os.close(maker)
    assert not list(cache.glob("work.*"))
