"""What a guest's kernel complained of, and what of it is known to be the client's own fault."""

from dataclasses import dataclass
from pathlib import Path

WORDS = (
    "BUG:",
    "WARNING:",
    "Oops",
    "Kernel panic",
    "general protection",
    "refcount_t",
    "blocked for more than",
    "Kernel mode fault",
)

CLIENT_FAULTS = {
    # It posts as many receives as it is asked for, and one more by which it waits for their end:
    # too many for its queue of 255, where a server (ksmbd) asks for 255.
    "ib_drain_rq": "the client's completion queue has no room for its last receive",
    # A umount does not wait for the work that the end of its own receives has queued.
    "smbd_disconnect_rdma_work": "the client ended a connection that it had freed",
    # Linux 7.3, of several channels: smbd_get_parameters of a connection that is gone already.
    "smb3_negotiate_rsize": "the client asked a connection that it had lost for its sizes",
}
"""What the client does wrong by itself, Linux 6.12 while it unmounts and 7.3 while it connects
again, by a function of the trace."""

LOST_BY_SIW = "refused: the negotiation took too long"
"""What usmbd says when siw, at the server, has lost a client's first message.

siw_accept answers the client before it looks at what the socket receives; what comes in between
lies there (`ss`: 44 bytes in Recv-Q, the queue pair in RTS, no completion) until more comes, and
the server ends such a connection after 5 s. On a busy machine it was one connection in three. A
client that reconnects tries again by itself, mount.cifs does not."""

SIW_TRIES = 10
"""Calls of mount.cifs over siw: as many losses one after the other would be no accident."""

UP, DOWN = "lab: the guest is up", "lab: the guest ends"
"""What lab/guest/init.sh writes into the kernel's log."""

TRACE = 100
"""Lines of a log that belong to a complaint at most."""


@dataclass(frozen=True)
class Complaint:
    """One complaint, with its trace; `fault`: what the client is known to do wrong there, or ""."""

    guest: str
    trace: str
    fault: str


def first(guest: str, log: Path) -> Complaint | None:
    """Return the first complaint in a kernel's log; the log has to be there.

    It counts from the guest's first step to its last: user-mode Linux warns that it has no PCI
    devices while it boots, and has been seen to trip over its second processor as it powers off.
    """
    text = log.read_text(errors="replace").partition(UP)[2].partition(DOWN)[0]
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if not any(word in line for word in WORDS):
            continue
        trace = lines[index : index + TRACE]
        ends = [at for at, text in enumerate(trace) if "end trace" in text]
        text = "\n".join(trace[: ends[0] + 1] if ends else trace)
        fault = next((CLIENT_FAULTS[word] for word in CLIENT_FAULTS if word in text), "")
        return Complaint(guest, text, fault if guest == "client" else "")
    return None
