"""The system calls of each trade. What stands in none of a process' lists does not exist for it.

So nobody has ptrace, mount, init_module, kexec_load, reboot, bpf, perf_event_open, userfaultfd,
io_uring_setup, keyctl, process_vm_writev, open_by_handle_at, personality, clock_settime and the
like. Names of other architectures, and those that this libseccomp does not know, are left out.
"""

from collections.abc import Mapping
from typing import Final


def _names(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


PYTHON: Final = _names(
    """
    read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 close close_range lseek
    _llseek
    fstat fstat64 newfstatat fstatat64 stat stat64 lstat lstat64 statx fcntl fcntl64 ioctl dup
    dup2 dup3 pipe pipe2 eventfd2 poll ppoll ppoll_time64 select _newselect pselect6
    pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    timerfd_create timerfd_settime timerfd_gettime mmap mmap2 munmap mremap mprotect madvise brk
    membarrier mlock mlock2 munlock map_shadow_stack futex futex_time64 futex_waitv futex_wait
    futex_wake futex_requeue rt_sigaction rt_sigprocmask rt_sigreturn sigreturn rt_sigtimedwait
    sigaltstack signalfd4 sched_yield sched_getaffinity sched_getparam sched_getscheduler getpid
    gettid getppid getpgid getpgrp getsid tgkill set_tid_address arch_prctl rseq getuid geteuid
    getgid getegid getgroups getresuid getresgid getuid32 geteuid32 getgid32 getegid32
    getgroups32 set_robust_list get_robust_list getrandom getcpu prctl clock_gettime
    clock_gettime64 clock_getres clock_nanosleep clock_nanosleep_time64 nanosleep gettimeofday
    time times getrusage sysinfo uname getrlimit ugetrlimit prlimit64 exit exit_group
    restart_syscall umask capget
    """
)
"""An interpreter that computes, waits and talks by descriptors that it has."""

MESSAGES: Final = _names(
    """
    recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg recv send shutdown getsockopt setsockopt
    getsockname getpeername socketpair
    """
)
"""Sockets that are there."""

LOOK: Final = _names(
    """
    open openat openat2 access faccessat faccessat2 readlink readlinkat getdents getdents64
    getcwd statfs statfs64 fstatfs fstatfs64 fadvise64 fadvise64_64 flock getxattr lgetxattr
    fgetxattr listxattr llistxattr flistxattr getxattrat listxattrat quotactl_fd
    inotify_init1 inotify_add_watch inotify_rm_watch
    """
)
"""To find and read files."""

CHANGE: Final = _names(
    """
    creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink
    symlinkat mknod mknodat chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime
    utimes utimensat utimensat_time64 truncate truncate64 ftruncate ftruncate64 fallocate
    setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat
    fsync fdatasync sync_file_range syncfs copy_file_range sendfile sendfile64 splice tee msync
    """
)
"""To make and change files."""

ACT_FOR_USERS: Final = _names(
    """
    setfsuid setfsgid setfsuid32 setfsgid32 setgroups setgroups32 capset
    """
)
"""A thread's identity for its file operations."""

CONNECT: Final = _names(
    """
    socket connect bind
    """
)
"""To make sockets; of which kind is said apart."""

LISTEN: Final = _names(
    """
    listen accept accept4
    """
)
CHILDREN: Final = _names(
    """
    clone clone3 fork vfork execve execveat wait4 waitpid waitid kill pidfd_open
    pidfd_send_signal setpgid setsid chdir fchdir
    """
)
"""To start processes, and to end them."""

CONFINE: Final = _names(
    """
    seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self capset setrlimit
    setuid setgid setresuid setresgid setgroups setuid32 setgid32 setresuid32 setresgid32
    setgroups32
    """
)
"""What a child needs to give up what it does not: its parent's filter is its own, too."""

HIDE: Final = _names(
    """
    unshare mount umount2 mount_setattr
    """
)
"""What a child needs to have mounts of its own; of unshare(2) nothing else."""

NUMBERS: Final[Mapping[str, int]] = {
    "mount_setattr": 442, "quotactl_fd": 443, "futex_waitv": 449, "cachestat": 451,
    "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455,
    "futex_requeue": 456, "setxattrat": 463, "getxattrat": 464, "listxattrat": 465,
    "removexattrat": 466,
}  # fmt: skip
"""Calls that an older libseccomp has no name for: since 2019 they have one number everywhere
(alpha aside)."""
