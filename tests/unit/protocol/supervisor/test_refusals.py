"""What the log says of refused RDMA clients: reasons, but no flood."""

import pytest
from smbdirect.step_loop import StepLoop

from usmbd.protocol.supervisor.refusals import LINES, LINES_OF_ADDRESS, PERIOD_SECONDS, Refusals


def test_one_address_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    loop = StepLoop()
    refusals = Refusals(loop)
    for _ in range(100):
        refusals.tell("192.0.2.7", "no room")
    refusals.tell("192.0.2.8", "no worker")
    assert len(caplog.messages) == LINES_OF_ADDRESS + 1
    assert caplog.messages[0] == "192.0.2.7: refused: no room"
    assert caplog.messages[-1] == "192.0.2.8: refused: no worker"
    loop.advance(PERIOD_SECONDS)
    assert caplog.messages[-1] == "95 more RDMA connections were refused"
    refusals.tell("192.0.2.7", "no room")  # a new period
    assert caplog.messages[-1] == "192.0.2.7: refused: no room"
    loop.advance(PERIOD_SECONDS)
    assert caplog.messages[-1] == "192.0.2.7: refused: no room"


def test_many_addresses_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(StepLoop())
    for number in range(LINES + 7):
        refusals.tell(f"192.0.2.{number}", "no room")
    assert len(caplog.messages) == LINES
    refusals.close()
    assert caplog.messages[-1] == "7 more RDMA connections were refused"
    refusals.close()
    assert len(caplog.messages) == LINES + 1
