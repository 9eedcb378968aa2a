"""The Linux kernel's client on a mount of usmbd: what every scenario came to in the guest.

One boot runs them all (conftest.py). A scenario that fails is run against ksmbd in the same boot:
where that fails too, the client or the scenario is at fault, and the test is skipped with the words
of both.
"""

import re

import guest_run
import matrix
import pytest

# The first test's seconds include the fixture's: preparing, another run's guest, then this one's.
pytestmark = pytest.mark.timeout(600 + guest_run.boot.WAIT + guest_run.SECONDS)

CASES = [
    (variant.name, scenario.partition(".")[0])
    for variant in matrix.VARIANTS
    for scenario in ("mount", *variant.scenarios, "unmount")
    if not (variant.expect_refusal and scenario == "unmount")
]


@pytest.mark.parametrize(("variant", "scenario"), CASES)
def test_scenario(outcome: guest_run.Outcome, variant: str, scenario: str) -> None:
    result = outcome.results.get(("usmbd", variant, scenario))
    if result is None:
        pytest.fail(f"the guest did not come to it; its log ends:\n{outcome.tail('guest.log')}")
    if result.outcome == "skipped":
        pytest.skip(result.detail)
    if result.outcome == "failed":
        control = outcome.results.get(("ksmbd", variant, scenario))
        if control is not None and control.outcome == "failed":
            pytest.skip(f"ksmbd fails as well: {control.detail}\nusmbd: {result.detail}")
        pytest.fail(f"{result.detail}\n{outcome.tail('logs/usmbd.log')}")


@pytest.mark.parametrize("variant", [v for v in matrix.VARIANTS if "rdma" in v.options], ids=str)
def test_the_client_used_rdma(outcome: guest_run.Outcome, variant: matrix.Variant) -> None:
    facts = outcome.tail(f"logs/usmbd/{variant.name}/DebugData.txt", 1000)
    assert "SMBDirect (in hex) protocol version: 100 transport status: 2" in facts  # connected


@pytest.mark.parametrize(
    "variant", [v for v in matrix.VARIANTS if "multichannel" in v.options], ids=str
)
def test_the_client_opened_a_second_channel(
    outcome: guest_run.Outcome, variant: matrix.Variant
) -> None:
    facts = outcome.tail(f"logs/usmbd/{variant.name}/DebugData.txt", 1000)
    assert "Extra Channels: 1" in facts


def test_two_clients_had_two_workers(outcome: guest_run.Outcome) -> None:
    lines = outcome.tail("logs/usmbd/rdma-3.1.1/queue-pairs.txt", 1000).splitlines()
    ours = [line.split() for line in lines if "comm python" in line and "state RTS" in line]
    assert len({words[words.index("pid") + 1] for words in ours}) == 2, lines


def test_nothing_is_left_of_the_clients(outcome: guest_run.Outcome) -> None:
    result = outcome.results.get(("usmbd", "-", "leftovers"))
    assert result is not None, outcome.tail("guest.log")
    assert result.outcome == "passed", result.detail


@pytest.mark.parametrize("server", matrix.SERVERS)
@pytest.mark.parametrize("step", ["start", "stop"])
def test_server(outcome: guest_run.Outcome, server: str, step: str) -> None:
    result = outcome.results.get((server, "-", step))
    assert result is not None, outcome.tail("guest.log")
    if (server, step, result.outcome) == ("ksmbd", "stop", "failed"):
        # The guest's last step, and no business of usmbd's: ksmbd.control has been seen to wait a
        # minute for the kernel, which waits for a connection.
        pytest.skip(f"the peer does not stop: {result.detail}")
    assert result.outcome == "passed", result.detail


def test_the_guest_finished(outcome: guest_run.Outcome) -> None:
    assert outcome.finished, outcome.tail("guest.log")


COMPLAINTS = (
    "BUG:",
    "WARNING:",
    "Oops",
    "general protection",
    "refcount_t",
    "blocked for more than",
)

CLIENT_FAULTS = {
    # It posts as many receives as it is asked for, and one more by which it waits for their end:
    # too many for its queue of 255, where a server (ksmbd) asks for 255.
    "ib_drain_rq": "the client's completion queue has no room for its last receive",
    # A umount does not wait for the work that the end of its own receives has queued.
    "smbd_disconnect_rdma_work": "the client ended a connection that it had freed",
}
"""What Linux 6.12's client does wrong by itself while it unmounts, by a function of the trace."""

TRACE = 100
"""Lines of dmesg that belong to a complaint at most."""


def test_the_kernel_complained_of_nothing(outcome: guest_run.Outcome) -> None:
    lines = outcome.lines("dmesg.log")
    excuses = []
    for index, line in enumerate(lines):
        if not any(word in line for word in COMPLAINTS):
            continue
        trace = lines[index : index + TRACE]
        ends = [at for at, text in enumerate(trace) if "end trace" in text]
        trace = trace[: ends[0] + 1] if ends else trace
        fault = next((CLIENT_FAULTS[w] for w in CLIENT_FAULTS if any(w in t for t in trace)), "")
        assert fault, "\n".join(trace)
        excuses.append(f"{fault}: {line}")
    if excuses:
        pytest.skip("\n".join(excuses))


def test_the_server_logged_no_fault(outcome: guest_run.Outcome) -> None:
    lines = outcome.lines("logs/usmbd.log")
    faults = [line for line in lines if "Traceback" in line or " error " in line]
    killed = re.compile(r"worker \d ended \(-9\)")
    crashes = [key for key in outcome.results if key[0] == "usmbd" and "crash" in key[2]]
    assert not [line for line in faults if not killed.search(line)]
    assert len(faults) <= 2 * len(crashes)  # each of the two workers, once
