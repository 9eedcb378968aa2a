"""In the guest: run the programs that the host asks for, by lines of JSON on a console of its own.

    host -> guest  {"id": 1, "argv": [...], "env": {...}, "cwd": "/", "output": PATH, "limit": 60}
                   {"id": 1, "input": "DONE"}         a line for the program's standard input
                   {"end": true}                      end the agent, and with it the guest
    guest -> host  {"ready": "7.3.4"}                 once
                   {"id": 1, "line": "RESTART"}       a line of its output, where `lines` is set
                   {"id": 1, "status": 0, "seconds": 1.2}   it has ended; null: it was ended

What a program prints goes to `output`, a file that the host sees; it is on the host's disk when the
status comes. Standard library only. The guest ends with the agent, and the agent with the line:
without a host it is of no use.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
import tty
from contextlib import suppress
from typing import Any

GRACE = 20.0
"""Seconds that a killed program has to end: one that hangs in the kernel never does."""


class Program:
    """One program that runs: its process, its deadline and where its lines go."""

    def __init__(self, order: dict[str, Any]) -> None:
        """Start it; OSError when it cannot be."""
        self.number: int = order["id"]
        self.began = time.monotonic()
        self.deadline = self.began + order["limit"]
        self.killed = False
        self.pending = b""
        self.listening = bool(order.get("lines"))
        self.output = open(order["output"], "ab", buffering=0)  # noqa: SIM115 - closed by `end`
        try:
            self.process = subprocess.Popen(
                order["argv"],
                env=os.environ | order.get("env", {}),
                cwd=order.get("cwd"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self.listening else self.output,
                stderr=self.output,
                start_new_session=True,
            )
        except OSError:
            self.output.close()
            raise

    def kill(self) -> None:
        """Kill it and what it has started; after GRACE seconds it counts as ended, dead or not."""
        if not self.killed:
            self.killed = True
            self.deadline = time.monotonic() + GRACE
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def feed(self, text: str) -> None:
        """Write to its standard input; it may have ended, or not read."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()

    def lines(self) -> list[str] | None:
        """Read what there is of its standard output; return the complete lines, None at its end."""
        assert self.process.stdout is not None
        chunk = os.read(self.process.stdout.fileno(), 65536)
        if not chunk:
            return None
        self.output.write(chunk)
        *lines, self.pending = (self.pending + chunk).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def end(self) -> None:
        """Bring what it printed to the host's disk."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(OSError):
            os.fsync(self.output.fileno())
        self.output.close()


class Agent:
    """Reads orders from descriptor 0, answers on descriptor 1."""

    def __init__(self) -> None:
        """Begin with no program."""
        self.programs: dict[int, Program] = {}
        self.selector = selectors.DefaultSelector()
        self.orders = b""

    def say(self, **message: object) -> None:
        """Send one line to the host."""
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(1, data) :]

    def obey(self, order: dict[str, Any]) -> None:
        """Do one thing that the host asks for."""
        program = self.programs.get(order["id"])
        if "argv" in order:
            try:
                program = Program(order)
            except OSError as error:
                with open(order["output"], "a") as output:
                    print(f"{order['argv'][0]}: {error}", file=output)
                self.say(id=order["id"], status=127, seconds=0.0)
                return
            self.programs[program.number] = program
            if program.listening:
                assert program.process.stdout is not None
                self.selector.register(program.process.stdout, selectors.EVENT_READ, program)
        elif program is not None:
            program.feed(order["input"])

    def hear(self, program: Program) -> None:
        """Pass on what a program printed; at the end of it nothing more is listened for."""
        lines = program.lines()
        if lines is None:
            self.selector.unregister(program.process.stdout)
            program.listening = False
        for line in lines or ():
            self.say(id=program.number, line=line)

    def look(self) -> None:
        """Report programs that have ended, and end those whose time is up."""
        for program in list(self.programs.values()):
            status = program.process.poll()
            late = time.monotonic() > program.deadline
            if status is None and not (late and program.killed):
                if late:
                    program.kill()
                continue
            if program.listening:
                assert program.process.stdout is not None
                os.set_blocking(program.process.stdout.fileno(), False)
                with suppress(BlockingIOError):  # a child of it may hold the pipe
                    self.hear(program)
                if program.listening:
                    self.selector.unregister(program.process.stdout)
            program.end()
            del self.programs[program.number]
            seconds = round(time.monotonic() - program.began, 3)
            self.say(id=program.number, status=None if program.killed else status, seconds=seconds)

    def run(self) -> None:
        """Serve until the host says so or is gone."""
        receive, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(0, selectors.EVENT_READ)
        self.selector.register(receive, selectors.EVENT_READ)
        self.say(ready=os.uname().release)
        while True:
            for key, _ in self.selector.select(1.0 if self.programs else None):
                if key.fd == 0:
                    chunk = os.read(0, 65536)
                    if not chunk:
                        return
                    *orders, self.orders = (self.orders + chunk).split(b"\n")
                    for order in map(json.loads, orders):
                        if "end" in order:
                            return
                        self.obey(order)
                elif key.fd == receive:
                    os.read(receive, 4096)
                else:
                    self.hear(key.data)
            self.look()


if __name__ == "__main__":
    tty.setraw(0)
    try:
        Agent().run()
    except OSError as error:  # the line was cut, or the host's disk is full
        sys.exit(f"agent: {error}")
