"""Which unit tests run a line: coverage with one context a test, kept until something changes."""

import hashlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest
from coverage import CoverageData
from points import Mutant

IMPORTERS = 12  # files of tests at most, for a line that runs at import
OF_LIMITS = "tests/unit/test_limits_document.py"
FOLDERS = ("protocol", "transport", "mountd")


def copy_tree(root: Path, target: Path) -> None:
    """Copy what git knows or would know, so that a mutant never stands in the tree itself."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout
    target.mkdir(parents=True)
    for name in filter(None, names.decode().split("\0")):
        source, place = root / name, target / name
        if source.is_symlink() or source.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                place.symlink_to(os.readlink(source))
            else:
                place.write_bytes(source.read_bytes())
    for folder in FOLDERS:
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(target / folder)], check=True)


class Covering:
    """The tests of each line, and how many lines each test runs."""

    def __init__(
        self, root: Path, data: CoverageData, failed: set[str], processes: list[list[str]]
    ) -> None:
        self._root = root
        self._processes = processes
        self._lines: dict[str, dict[int, set[str]]] = {}
        self._size: dict[str, int] = defaultdict(int)
        for path in data.measured_files():
            name = os.path.relpath(path, root)
            if not name.startswith(FOLDERS):
                continue
            by_line = {
                line: set(contexts) - {""} - failed
                for line, contexts in data.contexts_by_lineno(path).items()
            }
            self._lines[name] = by_line
            for tests in by_line.values():
                for test in tests:
                    self._size[test] += 1

    def tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that run a mutant's line, the narrowest first.

        A line may also run in the processes that a test starts (the mark `processes`): the files of
        such tests come first. A line that runs at import belongs to no test: then first come the
        files of tests that import the module, then the tests that run a line which names what this
        one defines, or else anything of the module.
        """
        by_line = self._lines.get(mutant.path, {})
        found = set().union(*(by_line.get(line, ()) for line in mutant.lines))
        starting = [file for file, folder in self._processes if mutant.path.startswith(folder)]
        if found and _runs_late(mutant):  # else a test was the first to import it
            files = starting
        else:
            found |= self._of_import(mutant) or set().union(*by_line.values())
            files = self._importers(mutant)
            if self._is_told(mutant):
                files.insert(0, OF_LIMITS)
            if _runs_late(mutant) or not by_line:
                files = starting + [file for file in files if file not in starting]
        rest = (test for test in found if test.partition("::")[0] not in files)
        return files + sorted(rest, key=lambda test: (self._size[test], test))

    def _defined(self, mutant: Mutant) -> list[str]:
        """Return the names that the line of a mutant defines."""
        source = (self._root / mutant.path).read_text().splitlines()
        defined = re.match(r"\s*(\w+(?:, \w+)*)\s*[:=]", source[mutant.lines[0] - 1])
        return defined[1].split(", ") if defined else []

    def _is_told(self, mutant: Mutant) -> bool:
        """Tell whether a line defines a constant that LIMITS.md has, which a test compares."""
        module = ".".join(Path(mutant.path).with_suffix("").parts)
        document = (self._root / "LIMITS.md").read_text()
        return any(f"`{module}.{name}`" in document for name in self._defined(mutant))

    def _importers(self, mutant: Mutant) -> list[str]:
        """Return the files of unit tests that import a mutant's module.

        First those that say what the line defines, in a table as `protocol.auth.der SEQUENCE=30`
        too; then the module's own, then the narrowest.
        """
        place = Path(mutant.path)
        told = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        module = f"usmbd.{told}"
        parent, _, name = module.rpartition(".")
        above = "|".join(map(re.escape, _above(module)))
        imports = re.compile(
            rf"^(?:from|import) {re.escape(module)}\b|^import (?:{above})$"
            rf"|^from {re.escape(parent)} import (?:\([^)]*|.*)\b{name}\b",
            re.MULTILINE,
        )
        says = re.compile("|".join(rf"\b{each}\b" for each in self._defined(mutant)) or r"(?!)")
        tells = re.compile(rf"^{re.escape(told)}\b.*(?:{says.pattern})", re.MULTILINE)
        files = []
        for file in (self._root / "tests/unit").rglob("test_*.py"):
            text = file.read_text()
            table = tells.search(text) is not None
            if table or imports.search(text):
                own = file.stem.startswith(f"test_{place.stem}")
                named = table or says.search(text) is not None
                order = not named, not own, text.count("usmbd.")
                files.append((order, str(file.relative_to(self._root))))
        return [file for _, file in sorted(files)[:IMPORTERS]]

    def _of_import(self, mutant: Mutant) -> set[str]:
        """Return the tests of the lines that name what a line defines, in any module."""
        found: set[str] = set()
        for defined in self._defined(mutant):
            name = re.compile(rf"\b{defined}\b")
            for path, by_line in self._lines.items():
                words = (self._root / path).read_text()
                if defined in words:
                    for number, line in enumerate(words.splitlines(), 1):
                        if name.search(line):
                            found |= by_line.get(number, set())
        return found


def _runs_late(mutant: Mutant) -> bool:
    """Tell whether a line is a function's, and neither a module's nor a class's."""
    name = mutant.function.rpartition(".")[2]
    return name != "module" and not name.lstrip("_")[:1].isupper()


def _above(module: str) -> list[str]:
    """Return the packages that a module is in."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def cover(root: Path, cache: Path) -> Covering:
    """Return the map of a copy of the tree: from `cache`, or by a run of the unit tests."""
    digest = hashlib.sha256()
    for folder in (*FOLDERS, "tests/unit", "tests/support"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    file = cache / f"{digest.hexdigest()[:16]}.coverage"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.iterdir():
            old.unlink()
        print("running the unit tests once, to see which of them runs which line", flush=True)
        subprocess.run([sys.executable, __file__, str(file)], cwd=root, check=True)
    data = CoverageData(basename=str(file))
    data.read()
    processes = file.with_suffix(".processes").read_text().splitlines()
    return Covering(
        root, _placed(data, root), failed(file), [line.split("\t") for line in processes]
    )


class _Contexts:
    """A plugin of pytest that gives each test a context.

    pytest-cov does the same in five times the time: its data is on disk, and changes thrice a test.
    """

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self._trace = sys.gettrace()
        self.failed: set[str] = set()
        self.processes: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Switch before the fixtures are set up."""
        self._measured.switch_context(item.nodeid)
        for mark in item.iter_markers("processes"):
            file = item.nodeid.partition("::")[0]
            self.processes |= {f"{file}\t{folder}" for folder in mark.args}
        if sys.gettrace() is not self._trace:  # a test that traces did not put it back
            sys.settrace(self._trace)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember who fails without a mutant: he would notice anything."""
        if report.failed:
            self.failed.add(report.nodeid)


def _measure(file: Path) -> int:
    """Run the unit tests of the folder we are in, and keep what ran without the folder's name."""
    root = Path.cwd()
    measured = coverage.Coverage(
        data_file=None, config_file=False, include=[f"{root}/{name}/*" for name in FOLDERS]
    )
    measured.start()
    contexts = _Contexts(measured)
    options = ["-q", "-p", "no:cacheprovider", "tests/unit"]
    status = pytest.main(options, plugins=[contexts])
    measured.stop()
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)
    kept = CoverageData(basename=str(file))
    kept.update(measured.get_data(), map_path=lambda path: os.path.relpath(path, root))
    kept.write()
    file.with_suffix(".failed").write_text("\n".join(sorted(contexts.failed)))
    file.with_suffix(".processes").write_text("\n".join(sorted(contexts.processes)))
    return 0


def failed(file: Path) -> set[str]:
    """Return the tests that failed when the map was made: no judges."""
    names = set(file.with_suffix(".failed").read_text().split("\n")) - {""}
    if names:
        print(f"left out, for they fail without a mutant: {sorted(names)}", flush=True)
    return names


def _placed(data: CoverageData, root: Path) -> CoverageData:
    placed = CoverageData(no_disk=True)
    placed.update(data, map_path=lambda path: str(root / path))
    return placed


if __name__ == "__main__":
    sys.exit(_measure(Path(sys.argv[1])))
