"""Small changes to a Python file, each of which a test should notice.

None is made to docstrings, annotations, decorators, the texts of messages, what prints an object, or zip's `strict`,
which guards what is so anyway.
"""

import ast
import copy
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

OTHER_OPERATOR: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
OTHER_COMPARISON: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
PAIRS = (
    "min max", "any all", "floor ceil", "argmin argmax", "zeros ones", "new_zeros new_ones", "zeros_like ones_like",
    "startswith endswith", "issuperset issubset", "union intersection", "notna isna", "partition rpartition",
    "repeat_interleave repeat", "mean sum", "std var", "removeprefix removesuffix", "head tail",
    "INTER_AREA INTER_LINEAR", "cumsum sum", "round int", "discard add", "spatial temporal", "low high",
)  # fmt: skip
OTHER_NAME = {a: b for pair in PAIRS for a, b in (pair.split(), pair.split()[::-1])}
OTHER_NAME |= {"sum": "mean", "sorted": "list"}
DROPPED_CALLS = ("abs", "lower", "strip", "sign", "relu", "sqrt")
OPERATORS = (ast.BinOp, ast.BoolOp, ast.Compare, ast.UnaryOp, ast.IfExp, ast.Lambda, ast.NamedExpr)
PRINTING = ("__repr__", "__str__", "extra_repr")
Changes = Iterator[tuple[str, ast.AST]]  # the kind of a change, and what stands in the node's place


@dataclass(frozen=True)
class Mutant:
    """A changed file: `path` in the repository, the line, the kind of change, the lines before and after it, and all
    the text. `lines` are those of the changed statement, from first to last; None if it runs when the file is imported.
    """

    path: str
    line: int
    lines: tuple[int, int] | None
    kind: str
    was: str
    now: str
    source: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line} ({self.kind})"

    def diff(self) -> str:
        return f"{self.name}\n- {self.was}\n+ {self.now}"


def mutants(path: str, source: str) -> list[Mutant]:
    """All mutants of a file, from its first line to its last."""
    found: dict[str, Mutant] = {}
    for node, kind, new, lines in all_changes(ast.parse(source)):
        changed = replace_text(source, node, text_of(new))
        if changed != source and changed not in found and compiles(changed):
            was, now = changed_lines(source, changed)
            found[changed] = Mutant(path, node.lineno, lines, kind, was, now, changed)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def changed_lines(source: str, changed: str) -> tuple[str, str]:
    """The lines that differ, before and after, each in one line."""
    lines = list(difflib.ndiff(source.splitlines(), changed.splitlines()))
    was, now = (" ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return was, now


def compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def replace_text(source: str, node: ast.AST, text: str) -> str:
    """The source with another text in the node's place; positions in a line are in UTF-8 bytes."""
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
    begin, end = lines[first][: node.col_offset], lines[last][node.end_col_offset :]  # type: ignore[attr-defined]
    return b"".join([*lines[:first], begin + text.encode() + end, *lines[last + 1 :]]).decode()


def text_of(node: ast.AST) -> str:
    return f"({ast.unparse(node)})" if isinstance(node, OPERATORS) else ast.unparse(node)


def all_changes(
    node: ast.AST, lines: tuple[int, int] | None = None, in_function: bool = False
) -> Iterator[tuple[ast.expr | ast.stmt, str, ast.AST, tuple[int, int] | None]]:
    """The changes of a node and of those below it, and the lines of its statement."""
    if isinstance(node, ast.stmt) and in_function:
        lines = statement_lines(node)
    if isinstance(node, ast.expr | ast.stmt):
        for kind, new in changes_of(node):
            yield node, kind, new, lines
    if isinstance(node, ast.If | ast.While) and not is_always_one_way(node.test):
        yield node.test, "condition negated", negated(node.test), lines
    defines = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in changeable_parts(node):
        yield from all_changes(child, lines, in_function or (defines and isinstance(child, ast.stmt)))


def statement_lines(node: ast.stmt) -> tuple[int, int]:
    """The first and the last line of a statement; of one with a body, of its head."""
    body = getattr(node, "body", None)
    last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
    return node.lineno, max(node.lineno, last)


def changeable_parts(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that may change."""
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return
        case ast.Expr(ast.Constant(str())):  # a docstring
            return
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            if node.name not in PRINTING:
                yield from [*node.args.defaults, *(d for d in node.args.kw_defaults if d), *node.body]
        case ast.ClassDef():
            yield from node.body
        case ast.AnnAssign():
            if node.value and ast.unparse(node.annotation) != "TypeAlias":
                yield node.value
        case ast.Assign(value=ast.Subscript(value=ast.Name(name))) if name[0].isupper():  # the name of a type
            return
        case ast.If() if is_always_one_way(node.test):
            return
        case ast.ExceptHandler():
            yield from node.body
        case ast.Call(func=ast.Name("isinstance" | "cast")) | ast.keyword("strict"):
            return
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[ast.Tuple(elements)]):
            yield from [node.left, *elements]  # their order is nothing
        case _:
            yield from ast.iter_child_nodes(node)


def is_always_one_way(test: ast.expr) -> bool:
    """`if TYPE_CHECKING` and `if __name__ == "__main__"`: no test decides them."""
    match test:
        case ast.Name("TYPE_CHECKING") | ast.Compare(left=ast.Name("__name__")):
            return True
    return False


def changes_of(node: ast.expr | ast.stmt) -> Changes:
    match node:
        case ast.stmt():
            yield from statement_changes(node)
        case ast.Constant():
            yield from constant_changes(node.value)
        case ast.Call():
            yield from call_changes(node)
        case ast.BinOp():
            yield from operator_changes(node)
        case ast.Compare():
            for i, operator in enumerate(node.ops):
                yield (
                    "comparison",
                    changed(node, lambda n, i=i, o=operator: set_item(n.ops, i, OTHER_COMPARISON[type(o)]())),
                )
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and/or", ast.BoolOp(other, node.values)
            for i in range(len(node.values)):
                rest = node.values[:i] + node.values[i + 1 :]
                yield "condition dropped", rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(ast.Not() | ast.USub()):
            yield "sign or not", node.operand
        case ast.IfExp():
            yield "condition negated", ast.IfExp(negated(node.test), node.body, node.orelse)
        case ast.Attribute() | ast.Name():
            yield from name_changes(node)
        case ast.Subscript(slice=ast.Slice() as bounds):
            yield from slice_changes(node, bounds)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for i, part in enumerate(node.generators):
                if part.ifs:
                    yield "condition dropped", changed(node, lambda n, i=i: n.generators[i].ifs.clear())


def changed(node: ast.AST, change: Callable) -> ast.AST:
    """A copy of the node, changed."""
    new = copy.deepcopy(node)
    change(new)
    return new


def set_item(values: list, i: int, value: ast.AST) -> None:
    values[i] = value


def negated(test: ast.expr) -> ast.expr:
    return (
        test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else ast.UnaryOp(ast.Not(), test)
    )


def constant_changes(value: object) -> Changes:
    """The next and the previous whole number, 10 % more and less, the other truth; another word, but no sentence."""
    match value:
        case bool():
            yield "constant", ast.Constant(not value)
        case int():
            yield from (("constant", ast.Constant(other)) for other in (value + 1, value - 1))
        case float():
            step = abs(value) / 10 or 0.1
            yield from (("constant", ast.Constant(float(f"{other:.6g}"))) for other in (value + step, value - step))
        case str() if value.count(" ") < 2:
            yield "text", ast.Constant(value + "x")


def operator_changes(node: ast.BinOp) -> Changes:
    """Another operator, operands swapped or left out; not of texts and paths, of which most raise an exception."""
    texts = (ast.JoinedStr, ast.Constant)
    if any(
        isinstance(side, texts) and not isinstance(getattr(side, "value", ""), int | float)
        for side in (node.left, node.right)
    ):
        return
    if isinstance(node.op, ast.FloorDiv):  # rounded up
        minus = ast.UnaryOp(ast.USub(), node.left)
        yield "operator", ast.UnaryOp(ast.USub(), ast.BinOp(minus, ast.FloorDiv(), node.right))
    elif isinstance(node.op, ast.BitOr):  # of dictionaries: which one's values win
        yield "operands swapped", ast.BinOp(node.right, node.op, node.left)
        yield "operand dropped", node.left
        yield "operand dropped", node.right
    elif type(node.op) in OTHER_OPERATOR:
        yield "operator", ast.BinOp(node.left, OTHER_OPERATOR[type(node.op)](), node.right)
    if isinstance(node.op, ast.Sub):
        yield "operands swapped", ast.BinOp(node.right, node.op, node.left)


def call_changes(node: ast.Call) -> Changes:
    """The first two arguments swapped, a keyword argument left out, the call itself left out."""
    plain = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
    if len(plain) == len(node.args) >= 2:
        yield "arguments swapped", ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    for i, keyword in enumerate(node.keywords):
        if keyword.arg and keyword.arg != "strict":
            rest = node.keywords[:i] + node.keywords[i + 1 :]
            yield "keyword dropped", ast.Call(node.func, node.args, rest)
    if isinstance(node.func, ast.Attribute) and node.func.attr in DROPPED_CALLS:
        yield "call dropped", node.args[0] if node.args else node.func.value


def name_changes(node: ast.Attribute | ast.Name) -> Changes:
    """min for max, mean for sum, and so on."""
    if isinstance(node, ast.Attribute) and node.attr in OTHER_NAME:
        yield "name", ast.Attribute(node.value, OTHER_NAME[node.attr])
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in OTHER_NAME:
        yield "name", ast.Name(OTHER_NAME[node.id])


def slice_changes(node: ast.Subscript, bounds: ast.Slice) -> Changes:
    """A bound that is no number itself: one more or less."""
    for end, step in (("lower", ast.Add()), ("upper", ast.Sub())):
        bound = getattr(bounds, end)
        if bound is not None and not isinstance(bound, ast.Constant | ast.UnaryOp):
            moved = ast.BinOp(bound, step, ast.Constant(1))
            yield "slice", changed(node, lambda n, end=end, moved=moved: setattr(n.slice, end, moved))


def statement_changes(node: ast.stmt) -> Changes:
    """A condition negated, a statement left out, two values swapped."""
    match node:
        case ast.Expr(ast.Constant() | ast.Yield() | ast.YieldFrom()):
            return
        case ast.Raise(exc=ast.Name("NotImplementedError")):
            return
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Assert() | ast.Delete() | ast.Return(None):
            yield "statement dropped", ast.Pass()
        case ast.Break() | ast.Continue():
            yield "break/continue", ast.Continue() if isinstance(node, ast.Break) else ast.Break()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement dropped", ast.Pass()
        case ast.Assign(targets=[ast.Tuple([a, b])]):
            yield "values swapped", ast.Assign([ast.Tuple([b, a], ast.Store())], node.value, lineno=0)
        case ast.Return(ast.Tuple([a, b])):
            yield "values swapped", ast.Return(ast.Tuple([b, a], ast.Load()))
    if isinstance(node, ast.AugAssign) and type(node.op) in OTHER_OPERATOR:
        yield "operator", ast.AugAssign(node.target, OTHER_OPERATOR[type(node.op)](), node.value)
