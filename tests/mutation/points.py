"""The places of a source file where one thing can be changed: its mutants.

A mutant is a stretch of the source and the text in its place. Kinds: a comparison and its
neighbour; `and` and `or`; `not` dropped; an arithmetic or bit operator and its opposite; a number
and the next; a condition that is never true; a statement left out (calls, raise, break,
assignments to an attribute or item); None instead of what a function returns.

Nothing is made of annotations, documentation, imports, log lines, f-strings (Python 3.11 does not
say where their parts stand) and what only a type checker reads. Where a function says that it
returns a bool, its False becomes True and not None: that is as false to who asks, and ruff lets
nobody compare with False.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_LOGGERS = {"log", "logger", "logging", "debug", "warnings"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file, from byte `start` to `end`; `lines` are those of its statement."""

    path: str
    function: str
    lines: tuple[int, ...]
    start: int
    end: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """What stands in the list of known survivors: no line number, which moves."""
        before, after = " ".join(self.before.split()), " ".join(self.after.split())
        return f"{self.path} {self.function}: {before} -> {after}"

    def apply(self, source: bytes) -> bytes:
        """Return the file with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants(root: Path, path: str) -> list[Mutant]:
    """Return every mutant of a file that is still Python, in the order of the source."""
    source = (root / path).read_bytes()
    found = _Finder(path, source)
    found.walk(ast.parse(source), "module")
    return [mutant for mutant in found.mutants if _compiles(mutant.apply(source))]


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Finder:
    """Walks a tree and notes what could be otherwise."""

    def __init__(self, path: str, source: bytes) -> None:
        self.mutants: list[Mutant] = []
        self._path = path
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._function = "module"
        self._returns_bool = False
        self._lines: tuple[int, ...] = ()

    def walk(self, node: ast.AST, function: str) -> None:
        """Note the mutants of a node and of what is in it."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self._statement(child, function)
            elif not isinstance(child, (ast.JoinedStr, ast.arguments)):
                self._function = function
                self._expression(child)
                self.walk(child, function)
            elif isinstance(child, ast.arguments):
                for default in (*child.defaults, *filter(None, child.kw_defaults)):
                    self._expression(default)
                    self.walk(default, function)

    def _statement(self, node: ast.stmt, function: str) -> None:
        self._function = function
        # of a block its head alone: the body's statements have lines of their own
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno
        self._lines = tuple(range(node.lineno, max(last or 0, node.lineno) + 1))
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                name = node.name if function == "module" else f"{function}.{node.name}"
                outside = self._returns_bool
                if not isinstance(node, ast.ClassDef):
                    self._returns_bool = _is_name(node.returns, "bool")
                if isinstance(node, ast.ClassDef) or node.name not in ("__repr__", "__str__"):
                    for part in node.body:
                        self._statement(part, name)
                self._returns_bool = outside
                if not isinstance(node, ast.ClassDef):
                    self._function = name
                    for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                        self._expression(default)
                return
            case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Global() | ast.Nonlocal():
                return
            case ast.Expr(ast.Constant()):
                return
            case ast.Expr(value):
                if _is_log(value):
                    return
                self._note(node, "pass")
            case ast.Raise() | ast.Break() | ast.Continue() | ast.Delete() | ast.AugAssign():
                self._note(node, "pass")
            case ast.Assign([ast.Attribute() | ast.Subscript()]):
                self._note(node, "pass")
            case ast.Return(ast.Constant(False)) if self._returns_bool:
                pass
            case ast.Return(ast.expr() as value) if not _is_none(value):
                self._note(node, "return None")
            case ast.If(ast.Name("TYPE_CHECKING")):
                return
            case ast.If() | ast.While():
                if not isinstance(node.test, ast.Constant):
                    self._note(node.test, "False")
            case ast.AnnAssign():
                if node.value is not None:
                    self._expression(node.value)
                    self.walk(node.value, function)
                return
        self.walk(node, function)

    def _expression(self, node: ast.AST) -> None:
        match node:
            case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
                changed = copy.copy(node)
                changed.ops = [_COMPARISONS[type(operator)]()]
                self._note(node, f"({ast.unparse(changed)})")
            case ast.BinOp() if type(node.op) in _OPERATORS and not _is_text(node):
                changed_op = copy.copy(node)
                changed_op.op = _OPERATORS[type(node.op)]()
                self._note(node, f"({ast.unparse(changed_op)})")
            case ast.BoolOp():
                changed_bool = copy.copy(node)
                changed_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
                self._note(node, f"({ast.unparse(changed_bool)})")
            case ast.UnaryOp(ast.Not(), operand):
                self._note(node, f"({ast.unparse(operand)})")
            case ast.Constant(bool() as value):
                self._note(node, str(not value))
            case ast.Constant(int() as value):
                self._note(node, str(value + 1))
            case ast.IfExp(test):
                self._note(test, "False")
            case _:
                pass

    def _note(self, node: ast.stmt | ast.expr, after: str) -> None:
        start = self._starts[node.lineno - 1] + node.col_offset
        end_line, end_column = node.end_lineno, node.end_col_offset
        assert end_line is not None
        assert end_column is not None
        end = self._starts[end_line - 1] + end_column
        before = self._source[start:end].decode()
        self.mutants.append(
            Mutant(self._path, self._function, self._lines, start, end, before, after)
        )


def _is_log(node: ast.expr) -> bool:
    """Whether an expression writes a log line: `log.debug(...)`, `self._log.info(...)`."""
    names: Iterator[str] = (
        part.id if isinstance(part, ast.Name) else part.attr
        for part in ast.walk(node.func if isinstance(node, ast.Call) else node)
        if isinstance(part, (ast.Name, ast.Attribute))
    )
    return isinstance(node, ast.Call) and any(name.strip("_") in _LOGGERS for name in names)


def _is_name(node: ast.expr | None, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.BinOp) -> bool:
    """Whether one side is a text, so that the operator joins or formats."""
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)))
        for part in (node.left, node.right)
    )
