"""One target under atheris, until libFuzzer ends the process: `one.py TARGET [OPTIONS]`.

`one.py TARGET --seeds FOLDER` writes the inputs of seeds.py there instead.
"""

import sys
from pathlib import Path

import atheris

# What is ours tells the fuzzer which lines and comparisons an input reached, from its import on.
with atheris.instrument_imports(include=["usmbd"], enable_loader_override=False):
    import targets

if sys.argv[2:3] == ["--seeds"]:
    from seeds import seeds

    for number, seed in enumerate(seeds()[sys.argv[1]]):
        (Path(sys.argv[3]) / f"seed-{number}").write_bytes(seed)
    sys.exit()

# libFuzzer starts itself again to merge, by a shell and the first word.
command = f"{sys.executable} {sys.argv[0]} {sys.argv[1]}"
atheris.Setup([command, *sys.argv[2:]], targets.TARGETS[sys.argv[1]])
atheris.Fuzz()
