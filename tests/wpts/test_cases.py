"""What Microsoft tests a server of SMB Direct for, and that nothing of the list is missing."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def test_every_case_has_its_test() -> None:
    cases = (HERE / "ms-smbd-cases.txt").read_text().split()
    tests = {
        node.name
        for path in HERE.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    assert len(cases) == len(set(cases)) == 67
    assert [case for case in cases if f"test_{case}" not in tests] == []
