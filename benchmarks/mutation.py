"""Errors as a program makes them: each one change of a file's syntax tree.

mutmut swaps comparisons and operators, adds one to numbers, drops `not`. What it leaves out is made
here: something is forgotten, two things are exchanged, min stands for max, a number is doubled.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import libcst as cst
from libcst import matchers as m
from mutmut.mutation.mutators import mutation_operators

from kit import runtime

OTHER = {"min": "max", "amin": "amax", "argmin": "argmax", "minimum": "maximum", "any": "all"}
OTHER |= {most: least for least, most in OTHER.items()}
# What students read, and what only a type checker or an importing file looks at.
SKIPPED = (
    cst.Annotation, cst.Decorator, cst.FormattedString, cst.Import, cst.ImportFrom, cst.Raise,
)  # fmt: skip
OUT = (
    m.Call(m.Attribute(attr=m.Name("warn")))
    | m.If(m.Name("TYPE_CHECKING"))
    | m.Assign([m.AssignTarget(m.Name("__all__"))])
    | m.Assign(value=m.Call(m.Attribute(m.Name("lazy_loader"))))
)


class Change(NamedTuple):
    """One node of a file's tree in another's place."""

    path: str
    tree: cst.Module
    right: cst.CSTNode
    wrong: cst.CSTNode

    def text(self) -> str:
        """The file with the error; empty where that is the same program, or none at all."""
        code = cst.ensure_type(self.tree.deep_replace(self.right, self.wrong), cst.Module).code
        try:
            same = ast.dump(ast.parse(code)) == ast.dump(ast.parse(self.tree.code))
        except SyntaxError:
            return ""
        return "" if same else code

    def diff(self) -> str:
        """The lines that change, with their numbers."""
        before, after = self.tree.code.splitlines(), self.text().splitlines()
        return "\n".join([*difflib.unified_diff(before, after, n=0, lineterm="")][2:])


def forgotten(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """An operand, an index, an element, an argument, a call, a branch or a statement is left out."""
    match node:
        case cst.BinaryOperation(left, _, right) | cst.BooleanOperation(left, _, right):
            yield from (left, right)
        case cst.IfExp(_, left, right):
            yield from (left, right)
        case cst.Subscript(value) | cst.Call(cst.Attribute(value)):
            yield value
        case cst.Expr(cst.Call()):
            yield node.with_changes(value=cst.Ellipsis())
        case cst.If():
            yield node.with_changes(test=cst.Name("False"))
    match node:
        case cst.Call(_, [cst.Arg(value, None, star="")]):
            yield value
        case cst.Call(_, [*others, cst.Arg(keyword=keyword)]) if others and not keyword:
            yield node.with_changes(args=others)
        case cst.Call():
            rests = zip(node.args, _without_one(node.args), strict=True)
            yield from (node.with_changes(args=rest) for arg, rest in rests if arg.keyword)
        case cst.Tuple([_, _, *_]) | cst.List([_, _, *_]):
            yield from (node.with_changes(elements=rest) for rest in _without_one(node.elements))


def exchanged(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Operands, or two arguments or elements in a row, stand in each other's place."""
    match node:
        case cst.BinaryOperation(left, cst.Subtract() | cst.Divide(), right):
            yield node.with_changes(left=right, right=left)
        case cst.Call():
            yield from (node.with_changes(args=args) for args in _two_exchanged(node.args))
        case cst.Tuple() | cst.List():
            yield from (node.with_changes(elements=new) for new in _two_exchanged(node.elements))


def renamed(node: cst.Name) -> Iterator[cst.CSTNode]:
    """The largest for the least, all for any, or the other way round."""
    if node.value in OTHER:
        yield node.with_changes(value=OTHER[node.value])


def scaled(node: cst.Integer | cst.Float) -> Iterator[cst.CSTNode]:
    """Half and twice the number, where mutmut adds one."""
    value = node.evaluated_value
    halved = value // 2 if isinstance(node, cst.Integer) else value / 2
    yield from (node.with_changes(value=repr(other)) for other in (halved, 2 * value))


def _without_one(parts: Sequence) -> Iterator[list]:
    return ([*parts[:n], *parts[n + 1 :]] for n in range(len(parts)))


def _two_exchanged(parts: Sequence) -> Iterator[list]:
    for n, (a, b) in enumerate(pairwise(parts)):
        if not any(getattr(part, name, "") for part in (a, b) for name in ("keyword", "star")):
            two = (b.with_changes(comma=a.comma), a.with_changes(comma=b.comma))
            yield [*parts[:n], *two, *parts[n + 2 :]]


# Of mutmut's, not those for text, nor None for a value or an argument: that mostly just crashes.
LEFT = ("operator_string", "operator_assignment", "operator_arg_removal", "operator_dict_arguments")
OPERATORS = [
    *((kind, make) for kind, make in mutation_operators if make.__name__ not in LEFT),
    (cst.CSTNode, forgotten),
    (cst.CSTNode, exchanged),
    (cst.Name, renamed),
    (cst.Integer, scaled),
    (cst.Float, scaled),
]


class _Changes(cst.CSTVisitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SKIPPED) or m.matches(node, OUT):
            return False
        for kind, make in OPERATORS:
            if isinstance(node, kind):
                self.found += [(node, wrong) for wrong in make(node)]
        return True


def changes(path: str) -> list[Change]:
    """All that can be made of a file, given from the project's root."""
    tree = cst.parse_module((runtime.root() / path).read_text(encoding="utf-8"))
    visitor = _Changes()
    tree.visit(visitor)
    return [Change(path, tree, *pair) for pair in visitor.found]
