"""How wsdd is begun."""

import os
import resource
from pathlib import Path
from typing import NoReturn

import pytest

from usmbd.protocol.discovery import wsd
from usmbd.protocol.discovery.plan import Plan

PLAN = Plan(
    name="SERVER",
    workgroup="WORKGROUP",
    port=445,
    uuid="0",
    interfaces={"lo": ["127.0.0.1"]},
    everywhere=True,
)


def test_it_begins_from_a_folder_that_its_user_may_not_enter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checkout in root's home: what it runs is read before it gives its rights up."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError

    begun: list[list[str]] = []
    monkeypatch.setattr(wsd, "read_plan", lambda _: PLAN)
    monkeypatch.setattr(wsd, "find_wsdd", lambda: "/usr/bin/wsdd")
    monkeypatch.setattr(wsd, "set_death_signal", lambda _: None)
    for name in ("chdir", "umask"):
        monkeypatch.setattr(os, name, lambda _: None)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(wsd, "confine", lambda _: monkeypatch.setattr(Path, "read_text", refuse))
    monkeypatch.setattr(os, "execve", lambda _, words, __: begun.append(words))
    wsd.main(["--plan-fd", "3"])
    ((python, *words),) = begun
    assert "python3" in python
    assert "PatientServer" in words[2]
