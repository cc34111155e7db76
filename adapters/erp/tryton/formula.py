"""Formulas of Tryton's price lists: one expression of the list price, the cost price and decimal numbers.

Invariant: a formula is evaluated with the names that Tryton gives it and nothing else; each number in it is a decimal, and a
value that is not there makes the whole result not there. Source: trytond 8.2, product_price_list and tools.decimal_.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from simpleeval import SimpleEval


class FormulaError(ValueError):
    """A formula that gives no amount. The message names the formula."""


class Nothing(Decimal):
    """A price that is not there: arithmetic with it gives it again."""

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Nothing)

    __hash__ = None  # type: ignore[assignment]  # equal to None, whose hash it cannot have


def _absorb(self: Nothing, *_others: object) -> Nothing:
    return self


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow"):
    setattr(Nothing, f"__{_name}__", _absorb)
    setattr(Nothing, f"__r{_name}__", _absorb)


class _Decimals(ast.NodeTransformer):
    """Numbers as they are written in the formula become decimals of those digits."""

    def __init__(self, text: str) -> None:
        self._text = text

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) not in (int, float):
            return node
        digits = ast.get_source_segment(self._text, node) or repr(node.value)
        name = ast.copy_location(ast.Name("Decimal", ast.Load()), node)
        written = ast.copy_location(ast.Constant(digits), node)
        return ast.copy_location(ast.Call(name, [written], []), node)


@functools.lru_cache(maxsize=4096)
def _parsed(formula: str) -> ast.AST:
    text = formula.strip()
    made: ast.AST = _Decimals(text).visit(SimpleEval.parse(text))
    return made


def evaluate(formula: str, names: Mapping[str, Decimal | None]) -> Decimal | None:
    """The amount that a formula gives, unrounded; None where a price that it needs is not there. Raises FormulaError."""
    evaluator = SimpleEval(
        functions={"Decimal": Decimal},
        names={name: Nothing() if value is None else value for name, value in names.items()},
    )
    try:
        result: Any = evaluator.eval(formula, previously_parsed=_parsed(formula))
    except Exception as exc:  # whatever a formula can do wrong is told with the formula
        raise FormulaError(f"formula {formula!r}: {exc}") from exc
    if result is None or isinstance(result, Nothing):
        return None
    if not isinstance(result, Decimal):
        raise FormulaError(f"formula {formula!r} gives {result!r}, which is no decimal number")
    return result
