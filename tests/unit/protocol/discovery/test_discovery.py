"""What is said of a server by mDNS and by wsdd, without a network."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from usmbd.protocol.discovery import wsd
from usmbd.protocol.discovery.plan import PLAN_LIMIT, Plan, read_plan, write_plan
from usmbd.protocol.supervisor.discovery import MAX_BACKUP_DISKS

zeroconf = pytest.importorskip("zeroconf", reason="needs the extra `discovery`")
const = pytest.importorskip("zeroconf.const")

PLAN = Plan(
    name="ARCHIVE",
    workgroup="OFFICE",
    port=4450,
    uuid="6ba7b811-9dad-11d1-80b4-00c04fd430c8",
    interfaces={"eth0": ["192.0.2.1", "2001:db8::1"], "eth1": ["198.51.100.1"]},
    everywhere=False,
)


def services(plan: Plan, addresses: list[str]) -> list[Any]:
    """Return what is announced, as zeroconf has it."""
    from usmbd.protocol.discovery import records

    return list(records.services(plan, addresses))


def with_(**more: object) -> Plan:
    return Plan(**{name: getattr(PLAN, name) for name in PLAN.__struct_fields__} | more)


def test_a_plan_goes_through_a_pipe() -> None:
    plan = with_(backup_disks=["n" * 63] * MAX_BACKUP_DISKS)
    assert read_plan(write_plan(plan)) == plan


def test_a_plan_that_fits_no_pipe_is_refused_and_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="too much"):
        write_plan(with_(workgroup="w" * PLAN_LIMIT))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_plain_server_is_one_service() -> None:
    (smb,) = services(PLAN, ["192.0.2.1", "2001:db8::1"])
    assert (smb.name, smb.type, smb.port) == (
        "ARCHIVE._smb._tcp.local.",
        "_smb._tcp.local.",
        4450,
    )
    assert (smb.server, smb.properties) == ("ARCHIVE.local.", {})
    assert smb.parsed_addresses() == ["192.0.2.1", "2001:db8::1"]


def test_what_macos_is_told() -> None:
    plan = with_(model="Xserve", backup_disks=["Backup", "Ümlaut 2"])
    _, device, disks = services(plan, ["192.0.2.1"])
    assert (device.type, device.port) == ("_device-info._tcp.local.", 0)
    assert device.properties == {b"model": b"Xserve"}
    assert (disks.type, disks.port) == ("_adisk._tcp.local.", 0)
    assert disks.properties == {
        b"sys": b"adVF=0x100",
        b"dk0": b"adVN=Backup,adVF=0x82",
        b"dk1": "adVN=Ümlaut 2,adVF=0x82".encode(),
    }


def test_as_many_disks_as_there_may_be_fit_one_answer() -> None:
    (_, disks) = services(with_(backup_disks=["n" * 63] * MAX_BACKUP_DISKS), ["192.0.2.1"])
    answer = zeroconf.DNSOutgoing(const._FLAGS_QR_RESPONSE | const._FLAGS_AA)
    answer.add_answer_at_time(disks.dns_text(), 0)
    (packet,) = answer.packets()
    assert len(packet) < 9000


def test_wsdd_is_told_addresses_or_whole_interfaces() -> None:
    words = wsd.command("/sbin/wsdd", PLAN)
    words = words[words.index("/sbin/wsdd") :]
    assert words[:4] == ["/sbin/wsdd", "--shortlog", "--preserve-case", "--uuid"]
    assert words[4:9] == [PLAN.uuid, "--hostname", "ARCHIVE", "--workgroup", "OFFICE"]
    assert words[10::2] == ["192.0.2.1", "2001:db8::1", "198.51.100.1"]
    everywhere = wsd.command("/sbin/wsdd", with_(everywhere=True))
    assert everywhere[-4:] == ["--interface", "eth0", "--interface", "eth1"]


def test_it_runs_as_it_would_by_itself(tmp_path: Path) -> None:
    program = tmp_path / "wsdd"
    program.write_text(
        "import http.server, sys\n"
        "print(__name__, http.server.HTTPServer.__name__, sys.argv[0], sys.argv[-1])\n"
    )
    words = wsd.command(str(program), PLAN)
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.split() == ["__main__", "PatientServer", str(program), "198.51.100.1"]
