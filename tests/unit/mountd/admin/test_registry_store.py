"""The registry's database: what is kept, and what is not."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from usmbd.mountd.admin import registry_store
from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registry_store import REG_SZ, RegistryStore, Value, read_text, text

HIVES = ("HKLM",)
KEY = ("HKLM", "SOFTWARE", "Key")


def test_names_in_any_case(tmp_path: Path) -> None:
    store = RegistryStore(tmp_path / "r.db", HIVES)
    store.set(store.make(KEY), Value("Straße", REG_SZ, text("x")))
    found = store.find(("hklm", "software", "KEY"))
    assert found is not None
    assert found.name == "Key"
    assert store.value(found, "straße") == Value("Straße", REG_SZ, text("x"))
    assert store.make(KEY).id == found.id
    store.close()
    again = RegistryStore(tmp_path / "r.db", HIVES)
    assert again.values(again.get(KEY)) == [Value("Straße", REG_SZ, text("x"))]


def test_a_change_is_taken_back_whole() -> None:
    store = RegistryStore(":memory:", HIVES)

    def change() -> None:
        with store.changing():
            store.set(store.make(KEY), Value("a", REG_SZ, b""))
            with store.changing():
                store.make((*KEY, "below"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    assert store.find(KEY[:2]) is None


def test_what_is_removed_leaves_nothing() -> None:
    store = RegistryStore(":memory:", HIVES)
    store.set(store.make((*KEY, "below")), Value("a", REG_SZ, b"x"))
    store.remove(store.get(KEY[:2]))
    assert store.find(KEY) is None
    assert store._database.execute("SELECT count(*) FROM data").fetchone() == (0,)
    with pytest.raises(RefusedError):
        store.get(KEY)


def test_there_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_store, "MAX_KEYS", 3)
    store = RegistryStore(":memory:", HIVES)
    hive = store.get(("HKLM",))
    for name in ("a", "b"):
        store.add(hive, name, "", b"", volatile=False)
    with pytest.raises(RefusedError):
        store.add(hive, "c", "", b"", volatile=False)


def test_the_file_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_store, "MAX_PAGES", 32)
    store = RegistryStore(":memory:", HIVES)
    key = store.make(KEY)
    store.set(key, Value("small", REG_SZ, b"kept"))

    def fill() -> None:
        for number in range(64):
            store.set(key, Value(str(number), REG_SZ, bytes(8192)))

    with pytest.raises(sqlite3.OperationalError):
        fill()
    assert store.value(key, "small") is not None


def test_texts() -> None:
    assert read_text(text("hällo \U0001f600")) == "hällo \U0001f600"
    assert read_text(b"a\0\0\0b\0") == "a"
    assert read_text(b"a\0b") == "a"


KILLED = """
import os, sys
from usmbd.mountd.admin.registry_store import RegistryStore, Value
store = RegistryStore(sys.argv[1], ("HKLM",))
key = store.make(("HKLM", "T"))
for number in range(10**6):
    with store.changing():
        store.set(key, Value("one", 1, str(number).encode()))
        store.set(key, Value("two", 1, str(number).encode()))
    print(number, flush=True)
"""


def test_who_is_killed_leaves_whole_changes(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    store = RegistryStore(path, HIVES)
    one, two = store.values(store.get(("HKLM", "T")))
    assert one.data == two.data
    assert int(one.data) >= 19
