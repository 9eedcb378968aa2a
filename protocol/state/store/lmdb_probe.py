"""Looks whether LMDB's files can be read, in a process that may die of it.

LMDB reads by a map of the file: what lies behind a file's end that was cut short is SIGBUS, and
what a damaged page leads to may be anything. The file's size says nothing: pages that a transaction
took and gave back are counted, and perhaps never written.
"""

import os
import resource
import signal
from pathlib import Path
from typing import Final

import lmdb

_DEADLY: Final = frozenset(
    {signal.SIGBUS, signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
)
"""What a damaged file ends its reader by: whoever is killed otherwise has found nothing."""


def ends_its_reader(directory: Path) -> str:
    """Return the name of the signal by which the files below `directory` end who reads them.

    "" where they do not, whatever else is wrong with them. Nobody in this process may have them
    open.
    """
    if not (directory / "data.mdb").exists():
        return ""
    child = os.fork()
    if not child:
        _read_all(directory)  # never returns
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _DEADLY:
        return signal.Signals(os.WTERMSIG(status)).name
    return ""


def _read_all(directory: Path) -> None:
    """Touch all pages: records, and by a copy to nowhere the list of free pages; end the process.

    Nothing of the parent's is called: it may have threads, and this process has their locks.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in _DEADLY:
            signal.signal(number, signal.SIG_DFL)
        with (
            lmdb.open(str(directory), readonly=True, lock=False) as env,
            env.begin(buffers=False) as txn,
        ):
            for _ in txn.cursor():
                pass
            env.copyfd(os.open(os.devnull, os.O_WRONLY), compact=True)
    finally:
        os._exit(0)
