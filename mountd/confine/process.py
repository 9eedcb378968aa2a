"""How a process gives up what it does not need."""

import contextlib
import os
import pwd
import resource
from collections.abc import Callable, Iterable

from usmbd.mountd.confine import filters, kernel
from usmbd.mountd.confine.profiles import UNUSED_IDS, Profile

FALLBACK_ID = 65534
"""Where a container has no other numbers: what Linux shows for users that it cannot map."""


def protect_secrets() -> None:
    """Have no core dump written of this process, which holds keys, and none piped elsewhere."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.set_undumpable()


_prepared: dict[Profile, Callable[[], None]] = {}


def prepare(profiles: Iterable[Profile]) -> None:
    """Build the filters of these once, for processes that are forked from this one.

    Each would compile its own, and write to 1,200 pages of memory for that.
    """
    with contextlib.suppress(filters.UnavailableError):  # `confine` tells of it
        for profile in profiles:
            if profile not in _prepared:
                _prepared[profile] = _filter(profile)


def _filter(profile: Profile) -> Callable[[], None]:
    """Return what loads a profile's filter."""
    return filters.build(
        sorted(profile.system_calls),
        threads_only=not profile.processes,
        any_socket=profile.any_socket,
    )


def confine(profile: Profile) -> list[str]:
    """Give up for good what `profile` does not name; return what could not be, with the reasons.

    Call it before there is a second thread, and after what needs more has been done.
    """
    missing = []
    protect_secrets()
    try:  # the library has to be found while files can be
        load_filter = _prepared.get(profile) or _filter(profile)
    except filters.UnavailableError as error:
        load_filter = None
        missing.append(f"seccomp: {error}")
    kernel.drop_bounds(profile.capabilities)  # while it may: another user has no capabilities
    if profile.own_user and os.geteuid() == 0:
        become_nobody_else(profile.own_user)
        protect_secrets()  # another user may be looked into again
    kernel.limit_capabilities(profile.capabilities)
    kernel.set_no_new_privileges()
    if not profile.any_socket:
        try:
            kernel.landlock(files=not profile.files)
        except OSError as error:
            missing.append(f"Landlock: {error.strerror}")
    if load_filter is not None:
        try:
            load_filter()
        except OSError as error:
            missing.append(f"seccomp: {error.strerror}")
    return missing


def become_nobody_else(preferred: int) -> None:
    """Become a user that no process else is, for good: a number that no account has."""
    number = preferred
    while number > UNUSED_IDS[0] and _is_taken(number):
        number -= len(_OWN_USERS)
    os.setgroups([])
    try:
        _set_ids(number)
    except OSError:  # not mapped in this user namespace
        _set_ids(FALLBACK_ID)


_OWN_USERS = range(4)  # as many as there are profiles with one, so that they never meet


def _is_taken(number: int) -> bool:
    """Tell whether the system has an account of this number."""
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _set_ids(number: int) -> None:
    """Change all of the process's user and group ids; OSError when the number is not mapped."""
    os.setresgid(number, number, number)
    os.setresuid(number, number, number)
