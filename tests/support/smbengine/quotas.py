"""A file system with quotas, in place of the kernel's: most machines have none mounted."""

import ctypes
import errno
import os
import struct

import pytest

from usmbd.protocol.vfs import quotactl

_DQBLK = struct.Struct("=8QII")
_BLOCK = 1024


class FakeQuotas:
    """What quotactl_fd(2) answers: hard and soft limits, used bytes and end of grace, by id."""

    def __init__(self) -> None:
        """Begin without users, and with quotas that are enforced."""
        self.users: dict[int, list[int]] = {}
        self.groups: dict[int, list[int]] = {}
        self.flags = 3
        self.calls = 0
        self.maximum = 1 << 40
        self.without: set[int] = set()
        """Inodes of files on another file system, which has no quotas."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer in place of the kernel."""
        monkeypatch.setattr(quotactl, "quotactl", self.call)

    def give(self, uid: int, used: int, soft: int = 0, hard: int = 0, grace: int = 0) -> None:
        """Let a user have taken bytes, with limits in bytes."""
        self.users[uid] = [hard // _BLOCK, soft // _BLOCK, used, grace]

    def call(
        self,
        file: int,
        command: int,
        uid: int,
        buffer: ctypes.Array[ctypes.c_char],
        whose: int = quotactl.USERS,
    ) -> None:
        """Do what the kernel does with a call for users, or for groups."""
        if os.fstat(file).st_ino in self.without:
            raise OSError(errno.ESRCH, "no quotas")
        known = self.users if whose == quotactl.USERS else self.groups
        self.calls += 1
        if command == quotactl.Q_XGETQSTATV:
            if not self.flags:
                raise OSError(errno.ESRCH, "no quotas")
            assert struct.unpack_from("=b", buffer) == (1,)
            assert ctypes.sizeof(buffer) == 160
            struct.pack_into("=H", buffer, 2, self.flags)
            return
        assert ctypes.sizeof(buffer) == 72
        if uid == 0xFFFFFFFF:
            raise OSError(errno.EINVAL, "nobody")
        if command == quotactl.Q_SETQUOTA:
            hard, soft, *_, valid, _ = _DQBLK.unpack(buffer)
            assert valid == 1
            if max(hard, soft) > self.maximum:
                raise OSError(errno.ERANGE, "too large")
            known[uid] = [hard, soft, *known.get(uid, [0, 0, 0, 0])[2:]]
            return
        if command == quotactl.Q_GETNEXTQUOTA:
            uid = min((each for each in known if each >= uid), default=-1)
        if uid not in known:
            raise OSError(errno.ENOENT, "no such quota")
        hard, soft, used, grace = known[uid]
        _DQBLK.pack_into(buffer, 0, hard, soft, used, 0, 0, 0, grace, 0, 0x3F, uid)
