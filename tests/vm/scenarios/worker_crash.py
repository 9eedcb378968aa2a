#!/usr/bin/python3 -IS
"""All workers are killed while both mounts write: the mounts go on, and no file is torn or lost.

The parent kills them when this prints the line `CRASH WORKERS`, and then answers `DONE`. A file is
written under another name, synced and renamed, and all of it again after an error: what then has
its name must have the whole content. Both mounts go on writing until the answer, and a while after.
"""

import os
import sys
import threading
import time

MOUNTS = (os.environ["MOUNT"], os.environ["MOUNT2"])
SECONDS = 180  # workers start anew, and the client tries to connect every few seconds
AFTER = 5  # files of each mount after the crash


def content(mount: int, number: int) -> bytes:
    """Return what file `number` of a mount has: 16 to 80 KiB, each of its own."""
    return b"%d of %d;" % (number, mount) * (2000 + 1000 * (number % 7))


class Writer(threading.Thread):
    """Writes files by one mount until it has written enough after the crash."""

    def __init__(self, mount: int, crashed: threading.Event) -> None:
        """Begin with nothing written."""
        super().__init__()
        self.mount, self.crashed = mount, crashed
        self.written = self.errors = 0
        self.failure = "it did not end"

    def run(self) -> None:
        """Write; note why it could not."""
        after = 0
        while after < AFTER:
            deadline = time.monotonic() + SECONDS
            while (error := self.write(self.written)) is not None:
                self.errors += 1
                if time.monotonic() > deadline:
                    self.failure = f"after {SECONDS} s: {error}"
                    return
                time.sleep(0.2)
            self.written += 1
            after += self.crashed.is_set()
        self.failure = ""

    def write(self, number: int) -> OSError | None:
        """Write one file; return the error."""
        path = f"{MOUNTS[self.mount]}/{self.mount}-{number}"
        try:
            with open(f"{path}.new", "wb", buffering=0) as file:
                data = content(self.mount, number)
                assert file.write(data) == len(data)
                os.fsync(file.fileno())
            os.replace(f"{path}.new", path)
        except FileNotFoundError as error:
            # The rename was made, and its answer lost: then the file is there.
            return None if os.path.exists(path) else error
        except OSError as error:
            return error
        return None


def main() -> None:
    """Write by both mounts, have the workers killed, and read all by the other mount."""
    if os.environ["SERVER"] != "usmbd":
        print("ksmbd has no workers", file=sys.stderr)
        sys.exit(77)
    crashed = threading.Event()
    writers = [Writer(mount, crashed) for mount in range(len(MOUNTS))]
    for writer in writers:
        writer.start()
    while not all(writer.written > 1 or not writer.is_alive() for writer in writers):
        time.sleep(0.05)
    print("CRASH WORKERS", flush=True)
    answer = sys.stdin.readline().strip()
    crashed.set()
    for writer in writers:
        writer.join()
        assert not writer.failure, f"mount {writer.mount}: {writer.failure}"
        print(f"{writer.written} files, {writer.errors} errors", file=sys.stderr)
    assert answer == "DONE", f"the parent said {answer!r}"
    for writer in writers:
        other = MOUNTS[1 - writer.mount]
        for number in range(writer.written):
            with open(f"{other}/{writer.mount}-{number}", "rb", buffering=0) as file:
                found = b"".join(iter(lambda: file.read(1 << 20), b""))
            assert found == content(writer.mount, number), f"{writer.mount}-{number} is torn"


if __name__ == "__main__":
    main()
