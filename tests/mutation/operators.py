"""What is changed: every place of a source file where a small change makes it wrong, and the changed text.

Left out is what no test should look at: annotations, decorators, docstrings, logging, the text of errors and warnings,
``__repr__``, formatted text, floats that only keep a division from zero, and what only speed depends on by design:
numbers of threads and how much is done at a time.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

COMPARISONS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "is not": "is", "is": "is not", "not in": "in", "in": "not in",
}  # fmt: skip
TOKENS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is",
    ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
    ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**", ast.BitAnd: "&", ast.BitOr: "|", ast.And: "and", ast.Or: "or",
}  # fmt: skip
ARITHMETIC = {
    "+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "*", "**": "*", "&": "|", "|": "&",
    "and": "or", "or": "and",
}  # fmt: skip
CALLS = {
    "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "argmin": "argmax", "argmax": "argmin",
    "floor": "ceil", "ceil": "floor", "any": "all", "all": "any", "round": "int",
}  # fmt: skip
PLAIN = {"abs", "sort", "sorted"}  # calls of one argument that are left out: the argument stays
SIDES = {"left": "right", "right": "left"}
KERNELS = {"compiled", "contracted"}
UNTESTED_KEYWORDS = {"strict", "copy", "stacklevel", "chunksize"}
SPEED_ONLY = re.compile(
    r"n_jobs|.*TILE|LANES|.*_AT_A_TIME|.*CHUNK_\w+|.*_BYTES|READ_VALUES|HANDED_VALUES|SEGMENT_BLOCKS|.*SIDE_BY_SIDE|LINE_OF_\w+"
)
GUARD = 1e-5  # floats below only keep a division from zero


@dataclass(frozen=True)
class Mutant:
    """One change: bytes `start` to `end` of a file become `text`."""

    path: str
    start: int
    end: int
    text: str
    line: int
    statement: int
    kernel: bool

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        """The lines that change, before and after."""
        old, new = source.decode().splitlines(), self.applied(source).decode().splitlines()
        first = next((k for k, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        tail = 0
        while tail < min(len(old), len(new)) - first and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        removed, added = old[first : len(old) - tail], new[first : len(new) - tail]
        return "\n".join([f"    - {line.strip()}" for line in removed] + [f"    + {line.strip()}" for line in added])


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """All mutants of a file that still compile."""
    tree = ast.parse(source)
    found = _Walk(path, source, any(_is_kernel(node) for node in ast.walk(tree)))
    for node in tree.body:
        found.statement(node, kernel=found.has_kernels, within=None)
    unique = {(m.start, m.end, m.text): m for m in found.mutants}
    return [mutant for mutant in unique.values() if _compiles(mutant.applied(source))]


def _compiles(source: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            compile(source, "mutant", "exec")
        except SyntaxError:
            return False
    return True


def _is_kernel(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(mark, ast.Name) and mark.id in KERNELS for mark in node.decorator_list
    )


def _name(node: ast.expr) -> str:
    """Last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_report(node: ast.AST) -> bool:
    """Whether a call writes to a log or warns."""
    if not isinstance(node, ast.Call):
        return False
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id in {"logger", "warnings", "logging"}


class _Walk:
    def __init__(self, path: str, source: bytes, has_kernels: bool) -> None:
        self.path, self.source, self.has_kernels = path, source, has_kernels
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.mutants: list[Mutant] = []
        self.at, self.kernel = 0, False

    def span(self, node: ast.AST) -> tuple[int, int]:
        first = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return first, self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def add(self, start: int, end: int, text: str) -> None:
        line = self.source.count(b"\n", 0, start) + 1
        self.mutants.append(Mutant(self.path, start, end, text, line, self.at, self.kernel))

    def replace(self, node: ast.AST, text: str) -> None:
        self.add(*self.span(node), text)

    def token(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        """Replace the operator between two operands."""
        begin, end = self.span(left)[1], self.span(right)[0]
        at = self.source[begin:end].decode().find(old)
        self.add(begin + at, begin + at + len(old), new)

    # Statements

    def block(self, body: list[ast.stmt], kernel: bool, within: ast.FunctionDef | None) -> None:
        for node in body:
            self.statement(node, kernel, within)

    def statement(self, node: ast.stmt, kernel: bool, within: ast.FunctionDef | None) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom) or _skipped(node):
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.definition(node, kernel, within)
            return
        self.at, self.kernel = node.lineno, kernel
        self.deletion(node, within)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and child is not getattr(node, "annotation", None):
                if not isinstance(node, ast.Raise):
                    self.expression(child)
            elif isinstance(child, ast.withitem):
                self.expression(child.context_expr)
        for part in ("body", "orelse", "finalbody"):
            self.block(getattr(node, part, []), kernel, within)
        for handler in getattr(node, "handlers", []):
            self.block(handler.body, kernel, within)

    def definition(self, node: ast.FunctionDef | ast.ClassDef, kernel: bool, within: ast.FunctionDef | None) -> None:
        if node.name in {"__repr__", "__str__"}:
            return
        if isinstance(node, ast.ClassDef):
            self.block(node.body, kernel, within)
            return
        # In a file with kernels, what is outside of all functions may be a constant of theirs.
        kernel = _is_kernel(node) if within is None else kernel
        self.at, self.kernel = node.lineno, kernel
        arguments = [*node.args.posonlyargs, *node.args.args]
        pairs = [*zip(reversed(arguments), reversed(node.args.defaults), strict=False)]
        pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        for argument, default in pairs:
            if default is not None and not SPEED_ONLY.fullmatch(argument.arg):
                self.expression(default)
        self.block(node.body, kernel, node)

    def deletion(self, node: ast.stmt, within: ast.FunctionDef | None) -> None:
        match node:
            case ast.AugAssign():
                self.replace(node, "pass")
                token = TOKENS.get(type(node.op), "")
                if token in ARITHMETIC:
                    self.token(node.target, node.value, token + "=", ARITHMETIC[token] + "=")
            case ast.Expr(value=ast.Call()) | ast.Raise():
                self.replace(node, "pass")
            case ast.Assign() if _can_go(node, within):
                self.replace(node, "pass")
            case ast.Continue():
                self.replace(node, "pass")
                self.replace(node, "break")
            case ast.Break():
                self.replace(node, "pass")  # not "continue": what comes later is often only slower
            case ast.Return() if within is not None and node is not within.body[-1]:
                self.replace(node, "pass")
            case ast.If():
                self.condition(node.test)

    def condition(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Compare | ast.UnaryOp | ast.BoolOp):
            start, end = self.span(test)
            self.add(start, end, f"not ({self.source[start:end].decode()})")

    # Expressions

    def expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.JoinedStr | ast.Lambda) or _is_report(node):
            if isinstance(node, ast.Lambda):
                self.expression(node.body)
            return
        self.change(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.keyword):
                if child.arg not in UNTESTED_KEYWORDS:
                    self.side(child)
                    self.expression(child.value)
            elif isinstance(child, ast.comprehension):
                self.expression(child.iter)
                for test in child.ifs:
                    self.condition(test)
                    self.expression(test)
            elif isinstance(child, ast.expr):
                self.expression(child)

    def side(self, keyword: ast.keyword) -> None:
        if keyword.arg == "side" and isinstance(keyword.value, ast.Constant):
            self.replace(keyword.value, f'"{SIDES[keyword.value.value]}"')

    def change(self, node: ast.expr) -> None:
        match node:
            case ast.Compare() | ast.BoolOp() | ast.BinOp():
                self.operators(node)
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                self.add(self.span(node)[0], self.span(node.operand)[0], "")
            case ast.IfExp():
                self.condition(node.test)
            case ast.Constant():
                self.constant(node)
            case ast.Call():
                self.call(node)

    def operators(self, node: ast.Compare | ast.BoolOp | ast.BinOp) -> None:
        """Replace each operator between operands."""
        if isinstance(node, ast.Compare):
            operands, kinds = [node.left, *node.comparators], node.ops
        elif isinstance(node, ast.BoolOp):
            operands, kinds = node.values, [node.op] * (len(node.values) - 1)
        else:
            operands, kinds = [node.left, node.right], [node.op]
        if isinstance(node, ast.BinOp) and any(_is_text(part) for part in operands):
            return
        for left, kind, right in zip(operands, kinds, operands[1:], strict=False):
            token = TOKENS.get(type(kind), "")
            changed = COMPARISONS.get(token) or ARITHMETIC.get(token)
            if changed:
                self.token(left, right, token, changed)

    def constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace(node, str(not value))
        elif isinstance(value, int):
            self.replace(node, str(value + 1))
        elif isinstance(value, float) and (value == 0 or abs(value) >= GUARD):
            self.replace(node, repr(value * 1.5 if value else 1.0))

    def call(self, node: ast.Call) -> None:
        name = _name(node.func)
        end = self.span(node.func)[1]
        if name in CALLS and not (name == "round" and len(node.args) != 1):
            self.add(end - len(name), end, CALLS[name])
        if name in PLAIN and len(node.args) == 1 and not node.keywords:
            start, stop = self.span(node.args[0])
            self.replace(node, f"({self.source[start:stop].decode()})")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _skipped(node: ast.stmt) -> bool:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_report(node.value)
    names = [_name(target) for target in node.targets] if isinstance(node, ast.Assign) else []
    return any(name == "__all__" or SPEED_ONLY.fullmatch(name) for name in names)


def _can_go(node: ast.Assign, within: ast.FunctionDef | None) -> bool:
    """Whether the code may run without an assignment: to a part of something, or anew to a name that it reads."""
    if within is None or within.name == "__init__":
        return False
    read = {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
    parts = any(isinstance(target, ast.Subscript | ast.Attribute) for target in node.targets)
    return parts or any(name in read for name in _names(node.targets))


def _names(targets: list[ast.expr]) -> list[str]:
    return [target.id for target in targets if isinstance(target, ast.Name)]
