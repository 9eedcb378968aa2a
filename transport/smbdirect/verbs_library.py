"""pyverbs' names as one value, and its errors as texts that say what to do."""

import errno
import os
import resource
from dataclasses import dataclass
from typing import Any

from usmbd.transport.smbdirect.provider import DeviceError, QueueFull, RegistrationError


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """What is used of pyverbs; `header_size` is where a C structure begins in its objects."""

    error: type[Exception]
    device_list: Any
    context: Any
    protection_domain: Any
    memory_region: Any
    completion_channel: Any
    completion_queue: Any
    queue_pair: Any
    queue_pair_init: Any
    queue_pair_capabilities: Any
    queue_pair_attributes: Any
    address_handle: Any
    global_route: Any
    gid: Any
    segment: Any
    send_request: Any
    receive_request: Any
    header_size: int


def error_code(error: Exception) -> int:
    """Return the errno in one of pyverbs' errors, 0 when it has none."""
    code = getattr(error, "error_code", 0)
    return code if isinstance(code, int) and code > 0 else 0


def device_error(doing: str, error: Exception) -> DeviceError:
    """Return the error to raise when pyverbs raised `error` while `doing` something."""
    code = error_code(error)
    if not code:
        return DeviceError(f"{doing}: {error}")
    text = f"{doing}: {os.strerror(code)} ({errno.errorcode.get(code, code)})"
    if code in (errno.EACCES, errno.EPERM):
        text += (
            "; /dev/infiniband is not ours to use, or this thread's credentials have changed"
            " since the device was opened"
        )
    return DeviceError(text)


def post_error(doing: str, error: Exception) -> DeviceError:
    """Return the error for work that was not taken: QueueFull when there is no slot."""
    if error_code(error) == errno.ENOMEM:
        return QueueFull(f"{doing}: the queue is full")
    return device_error(doing, error)


def registration_error(length: int, error: Exception) -> RegistrationError:
    """Return the error for memory that was not registered, with what raises the limit."""
    text = str(device_error(f"registering {length} bytes", error))
    if error_code(error) in (errno.ENOMEM, errno.EAGAIN, errno.EPERM):
        limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if limit == resource.RLIM_INFINITY:
            text += (
                "; locked memory (RLIMIT_MEMLOCK) is unlimited, so the device or the machine"
                " has no more: register less"
            )
        else:
            text += (
                f"; this process may lock {limit} bytes (RLIMIT_MEMLOCK): raise it with"
                " LimitMEMLOCK=infinity in the systemd unit, memlock in"
                " /etc/security/limits.conf or `ulimit -l unlimited`, or give CAP_IPC_LOCK"
            )
    return RegistrationError(text)
