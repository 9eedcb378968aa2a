"""Targets under atheris, until libFuzzer ends the process.

`one.py TARGET [OPTIONS]` runs one. `one.py` alone reads lines of JSON, `[FILE, TARGET, *OPTIONS]`,
runs each in a process forked from this one, with what it says in the file, and answers each by a
line with its exit status: it takes seconds to instrument what is imported, and so only once.
With `--seeds FOLDER` for the options a target writes the inputs of seeds.py there instead.
"""

import gc
import json
import os
import sys
from pathlib import Path

import atheris

# What is instrumented is no garbage: to look for some takes a third of the time.
gc.disable()

# What is ours tells the fuzzer which lines and comparisons an input reached, from its import on.
with atheris.instrument_imports(include=["usmbd"], enable_loader_override=False):
    import targets
    import targets_domain  # noqa: F401 -- it enters its own

gc.freeze()
gc.enable()


def fuzz(name: str, options: list[str]) -> None:
    """Run a target; does not return, unless it only wrote its seeds."""
    if options[:1] == ["--seeds"]:
        from seeds import seeds

        for number, seed in enumerate(seeds()[name]):
            (Path(options[1]) / f"seed-{number}").write_bytes(seed)
        return
    # libFuzzer starts itself again to merge, by a shell and the first word.
    command = f"{sys.executable} {sys.argv[0]} {name}"
    atheris.Setup([command, *options], targets.TARGETS[name])
    atheris.Fuzz()


def forked(file: str, name: str, options: list[str]) -> int:
    """Run a target in a process of its own; return its exit status."""
    child = os.fork()
    if not child:
        said = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((nothing, said, said)):
            os.dup2(descriptor, number)
        fuzz(name, options)
        sys.exit()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if len(sys.argv) > 1:
    fuzz(sys.argv[1], sys.argv[2:])
else:
    for line in sys.stdin:
        file, name, *options = json.loads(line)
        print(forked(file, name, options), flush=True)
