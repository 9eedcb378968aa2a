"""What is announced, and where: the supervisor's word to a process that announces."""

import os

import msgspec

PLAN_LIMIT = 32768
"""Bytes of a plan: a pipe takes them whole, before anybody reads."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A server as other machines see it."""

    name: str
    workgroup: str
    port: int
    uuid: str
    """The same at every start."""
    interfaces: dict[str, list[str]]
    """Where it is announced: interfaces, and the addresses of each that are listened on."""
    everywhere: bool
    """Whether those are all of an interface's addresses, the ones to come too."""
    model: str = ""
    """Whose icon Finder shows; empty: it chooses."""
    backup_disks: list[str] = msgspec.field(default_factory=list)
    """Shares for Time Machine."""
    log_level: int = 1
    log_json: bool = False


def write_plan(plan: Plan) -> int:
    """Return a descriptor that a plan is read from; OSError when it is too long."""
    data = msgspec.json.encode(plan)
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        if len(data) > PLAN_LIMIT or os.write(writer, data) != len(data):
            raise OSError("there is too much to announce")
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return reader


def read_plan(descriptor: int) -> Plan:
    """Read the plan that this process was started with."""
    with os.fdopen(descriptor, "rb") as stream:
        return msgspec.json.decode(stream.read(PLAN_LIMIT), type=Plan)
