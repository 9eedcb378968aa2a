"""The Linux kernel's client on mounts of usmbd: what every step and scenario came to.

Each way to mount has two guests of its own (mounts.py). ksmbd runs the same beside it: its results
are in the table at the end, and excuse nothing here.
"""

import matrix
import pytest
from outcome import Outcome

# The first test's seconds include the fixture's: building the kernel, then all mounts.
pytestmark = pytest.mark.timeout(3600)

BEFORE, AFTER = ("boot", "start", "mount"), ("unmount", "leftovers", "stop", "log", "kernel")


def cases() -> list[tuple[str, str]]:
    """Return each variant with each of its steps and scenarios."""
    found = []
    for variant in matrix.VARIANTS:
        scenarios = [name.partition(".")[0] for name in variant.scenarios]
        after = AFTER[1:] if variant.expect_refusal else AFTER
        found += [(variant.name, step) for step in (*BEFORE, *scenarios, *after)]
    return found


def needs(outcome: Outcome, name: str) -> None:
    """Skip the test, and say why, where the client's kernel of a variant was not built."""
    variant = next(v for v in matrix.VARIANTS if v.name == name)
    if variant.kernel and not any(key[1] == name for key in outcome.results):
        pytest.skip(f"no client of Linux {variant.kernel}: KERNEL={variant.kernel} make lab")


@pytest.mark.parametrize(("variant", "step"), cases())
def test_step(outcome: Outcome, variant: str, step: str) -> None:
    needs(outcome, variant)
    result = outcome.results.get(("usmbd", variant, step))
    if result is None:
        failed = [r for r in outcome.failures("usmbd") if r.variant == variant]
        pytest.fail("not reached; " + "\n".join(f"{r.scenario}: {r.detail}" for r in failed))
    if result.outcome == "skipped":
        pytest.skip(result.detail)
    log = outcome.tail(f"usmbd/{variant}/server/usmbd.log")
    assert result.outcome in ("passed", "known"), f"{result.detail}\n{log}"


@pytest.mark.parametrize("variant", [v for v in matrix.VARIANTS if v.over_rdma], ids=str)
def test_the_client_used_rdma(outcome: Outcome, variant: matrix.Variant) -> None:
    needs(outcome, variant.name)
    facts = outcome.tail(f"usmbd/{variant.name}/DebugData.txt", 1000)
    assert "SMBDirect protocol version: 0x100 transport status: CONNECTED" in facts or (
        "SMBDirect (in hex) protocol version: 100 transport status: 2" in facts  # Linux 6.12
    )


@pytest.mark.parametrize(
    "variant", [v for v in matrix.VARIANTS if "multichannel" in v.options], ids=str
)
def test_the_client_opened_a_second_channel(outcome: Outcome, variant: matrix.Variant) -> None:
    facts = outcome.tail(f"usmbd/{variant.name}/DebugData.txt", 1000)
    assert "Extra Channels: 1" in facts


def test_two_clients_had_two_workers(outcome: Outcome) -> None:
    lines = outcome.tail("usmbd/rdma-3.1.1/queue-pairs.txt", 1000).splitlines()
    ours = [line.split() for line in lines if "comm usmbd" in line and "state RTS" in line]
    assert len({words[words.index("pid") + 1] for words in ours}) == 2, lines


def test_ksmbd_was_there_to_compare_with(outcome: Outcome) -> None:
    """The scenarios are right where the peer passes them too: most it does."""
    results = [r for key, r in outcome.results.items() if key[0] == "ksmbd"]
    passed = [r for r in results if r.outcome == "passed"]
    assert len(passed) > len(results) * 0.8, outcome.failures("ksmbd")
