"""Which usmbd the tools say this is."""

import argparse
from importlib import metadata

import pytest

from usmbd.mountd.ipc.version import ShowVersion, version


def test_the_version_is_the_package_s(monkeypatch: pytest.MonkeyPatch) -> None:
    version.cache_clear()
    assert version() == metadata.version("usmbd")

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    version.cache_clear()
    assert version() == "unknown"
    version.cache_clear()


def test_the_option_says_it_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-V", action=ShowVersion, nargs=0)
    with pytest.raises(SystemExit) as end:
        parser.parse_args(["-V", "--nonsense"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"usmbd {version()}\n"
