"""Which usmbd this is."""

import argparse
from collections.abc import Sequence
from functools import cache


@cache
def version() -> str:
    """Return the version that is installed; "unknown" where none is."""
    # Imported here: forty modules, and a look at all packages, for what few ask.
    from importlib import metadata

    try:
        return metadata.version("usmbd")
    except metadata.PackageNotFoundError:
        return "unknown"


class ShowVersion(argparse.Action):
    """An option that prints the version and ends the program."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Print it."""
        print(f"usmbd {version()}")
        parser.exit()
