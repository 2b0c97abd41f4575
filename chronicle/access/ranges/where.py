"""Where: a condition on the rows of a scan, read from text or triples, judged on columns as they are kept inside.

Prices and sizes are compared as the mantissas that they are: ``price >= 62985.1`` is exact, no float is made of
either side. Python's own grammar reads the text (``ast``); nothing of it is ever run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chronicle.access.ranges.columns import WIDE, Chunk, Column
from chronicle.core.errors import ConfigError
from chronicle.core.layout import INT64_MAX, INT64_MIN
from chronicle.core.times import parse_time

__all__ = ["Term", "Where", "parse_where"]

TEXT_MAX = 10_000
TERMS_MAX = 200
DEPTH_MAX = 50
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NAMES = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_SETS = {ast.In: "in", ast.NotIn: "not in"}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_HINT = "as in where=\"side == 'bid' and price >= 62985.1\", or [('side', '==', 'bid'), ('price', '>=', '62985.1')]"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison: a column with a value, with several (``in``), or with another column (`other`)."""

    column: str
    sign: str
    value: Any = None
    other: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """All (or any, or the contrary) of its parts hold: ``and``, ``or``, ``not``."""

    word: str
    parts: tuple[Where | Term, ...]

    def columns(self) -> set[str]:
        """Return the names of the columns that it looks at."""
        found: set[str] = set()
        for part in self.parts:
            found |= part.columns() if isinstance(part, Where) else {part.column} | ({part.other} - {""})
        return found

    def certain(self) -> list[Term]:
        """Return the terms without which no row passes: they decide what is read at all."""
        if self.word != "and":
            return []
        found = []
        for part in self.parts:
            found += part.certain() if isinstance(part, Where) else [part]
        return found


def parse_where(given: object) -> Where:
    """Read a condition.

    Parameters
    ----------
    given : str or sequence of (column, sign, value)
        Text: comparisons of columns with values (or of two columns) by ``==, !=, <, <=, >, >=, in, not in``,
        joined by ``and``, ``or``, ``not`` and brackets; times as text or ns. Triples: all of them must hold.
        Where a row has no value (the bid of a quote without bids) no comparison holds.

    Raises
    ------
    ConfigError
        When it cannot be read.
    """
    if isinstance(given, str):
        return _parsed(given)
    if not isinstance(given, Sequence) or not given or len(given) > TERMS_MAX:
        raise ConfigError("this is no condition on rows", expected="text or triples", found=given, hint=_HINT)
    terms = []
    for one in given:
        if not isinstance(one, Sequence) or isinstance(one, str) or len(one) != 3 or not isinstance(one[0], str):
            raise ConfigError("a condition has three parts", expected="(column, sign, value)", found=one, hint=_HINT)
        sign = "==" if one[1] == "=" else str(one[1])
        if sign not in (*_OPERATORS, "in", "not in"):
            raise ConfigError(
                f"there is no comparison {sign!r}", expected=", ".join((*_OPERATORS, "in", "not in")), hint=_HINT
            )
        terms.append(Term(one[0], sign, tuple(one[2]) if "in" in sign else one[2]))
    return Where("and", tuple(terms))


def _parsed(text: str) -> Where:
    if len(text) > TEXT_MAX:
        raise ConfigError("a condition is short", expected=f"<= {TEXT_MAX} characters", found=len(text))
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        found = _part(tree, text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(f"the condition cannot be read: {said}", found=text[:80], hint=_HINT) from None
    return found if isinstance(found, Where) else Where("and", (found,))


def _part(node: ast.expr, text: str, depth: int = 0) -> Where | Term:
    if depth > DEPTH_MAX:
        raise ValueError(f"more than {DEPTH_MAX} conditions within one another")
    if isinstance(node, ast.BoolOp):
        word = "and" if isinstance(node.op, ast.And) else "or"
        return Where(word, tuple(_part(value, text, depth + 1) for value in node.values))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return Where("not", (_part(node.operand, text, depth + 1),))
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        terms = [_term(*each, text) for each in zip(sides, node.ops, sides[1:], strict=False)]
        return terms[0] if len(terms) == 1 else Where("and", tuple(terms))
    raise ValueError(f"{ast.unparse(node)[:80]!r} is no comparison")


def _term(left: ast.expr, sign: ast.cmpop, right: ast.expr, text: str) -> Term:
    if type(sign) in _SETS:
        if not isinstance(left, ast.Name) or not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise ValueError("'in' stands between a column and values in brackets")
        return Term(left.id, _SETS[type(sign)], tuple(_value(item, text) for item in right.elts))
    if type(sign) not in _NAMES:
        raise ValueError("'is' compares nothing here")
    name = _NAMES[type(sign)]
    if isinstance(left, ast.Name) and isinstance(right, ast.Name):
        return Term(left.id, name, other=right.id)
    if isinstance(left, ast.Name):
        return Term(left.id, name, _value(right, text))
    if isinstance(right, ast.Name):
        return Term(right.id, _MIRRORED[name], _value(left, text))
    raise ValueError("a comparison names a column")


def _value(node: ast.expr, text: str) -> Any:
    """Return a constant; a number as it is written, so that no float comes between."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, text)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        written = ast.get_source_segment(text, node)
        return node.value if written is None or type(node.value) is int else Decimal(written.replace("_", ""))
    raise ValueError(f"{ast.unparse(node)[:80]!r} is no value")


class Judge:
    """Judges chunks of columns by a condition; the columns' meaning is checked once.

    Parameters
    ----------
    where : Where
    columns : mapping of str to Column
        Of the scan, as its chunks have them.
    exponents : (int, int)
        Of prices and sizes.
    """

    def __init__(self, where: Where, columns: Mapping[str, Column], exponents: tuple[int, int]) -> None:
        unknown = sorted(where.columns() - set(columns))
        if unknown:
            raise ConfigError(
                f"the condition names no column {unknown[0]!r}", expected=", ".join(columns), found=unknown[0]
            )
        self._columns, self._exponents = columns, exponents
        self._test = self._tester(where)

    def mask(self, chunk: Chunk) -> Mask:
        """Return which rows pass."""
        return self._test(chunk)

    def _tester(self, part: Where | Term) -> Callable[[Chunk], Mask]:
        if isinstance(part, Term):
            return self._compared(part)
        tests = [self._tester(one) for one in part.parts]
        if part.word == "not":
            return lambda chunk: ~tests[0](chunk)
        join = np.logical_and if part.word == "and" else np.logical_or
        return lambda chunk: join.reduce([test(chunk) for test in tests])

    def _compared(self, term: Term) -> Callable[[Chunk], Mask]:
        column = self._columns[term.column]
        if term.other:
            other = self._columns[term.other]
            if column.role != other.role or column.role in ("word", *WIDE):
                raise ConfigError(
                    f"{term.column} and {term.other} cannot be compared",
                    expected="two prices, sizes, times or numbers",
                )
            compare = _OPERATORS[term.sign]
            return lambda chunk: (
                _there(chunk[term.column], chunk[term.other]) & compare(chunk[term.column], chunk[term.other])
            )
        if "in" in term.sign:
            sign, join = ("==", np.logical_or) if term.sign == "in" else ("!=", np.logical_and)
            tests = [self._with_value(term.column, column, sign, value) for value in term.value]
            if not tests:
                raise ConfigError("a set of no values", found=f"{term.column} {term.sign} ()")
            return lambda chunk: np.asarray(join.reduce([test(chunk) for test in tests]))
        return self._with_value(term.column, column, term.sign, term.value)

    def _with_value(self, name: str, column: Column, sign: str, value: Any) -> Callable[[Chunk], Mask]:
        compare = _OPERATORS[sign]
        if column.role == "word":
            code = _code(name, column, sign, value)
            return lambda chunk: np.asarray(compare(chunk[name], code))
        if column.role == "time":
            stamp = parse_time(value)
            return lambda chunk: np.asarray(compare(chunk[name], stamp))
        number = _number(name, value)
        if column.role == "float" or np.dtype(column.dtype).kind == "f":
            return lambda chunk: ~np.isnan(chunk[name]) & compare(chunk[name], float(number))
        exponent = self._exponent(column)
        if column.role in WIDE:
            scaled = number.scaleb(exponent)
            return lambda chunk: np.fromiter(
                (
                    high != INT64_MIN and compare((high << 64) + (low & (1 << 64) - 1), scaled)
                    for high, low in chunk[name].tolist()
                ),
                dtype=np.bool_,
                count=len(chunk[name]),
            )
        sign, bound = _integral(sign, number.scaleb(exponent))
        unsigned = np.dtype(column.dtype).kind == "u"
        if not (0 if unsigned else -INT64_MAX) <= bound <= INT64_MAX:  # INT64_MIN is none
            always = bool(_OPERATORS[sign](0, bound))
            return lambda chunk: np.full(len(chunk[name]), always) & _there(chunk[name])
        test = _OPERATORS[sign]
        return lambda chunk: _there(chunk[name]) & test(chunk[name], bound)

    def _exponent(self, column: Column) -> int:
        price, size = self._exponents
        return {"price": price, "wide_price": price, "size": size, "wide_size": size, "volume": size}.get(
            column.role, price + size if column.role == "notional" else 0
        )


def _there(*columns: NDArray[Any]) -> Any:
    """Return which rows have a value in all of the columns; True where all have."""
    out: Any = True
    for values in columns:
        if values.dtype == np.int64 and len(values) and values.min() == INT64_MIN:
            out = out & (values != INT64_MIN)
        elif values.dtype.kind == "f":
            out = out & ~np.isnan(values)
    return out


def _code(name: str, column: Column, sign: str, value: Any) -> int:
    if sign not in ("==", "!="):
        raise ConfigError(f"{name} is a word: it has no order", expected="==, !=, in, not in", found=sign)
    if name == "symbol" and value not in column.words:
        return -1  # captured, and not one of those that the scan is of
    if value not in column.words:
        raise ConfigError(f"{name} is never {value!r}", expected=" | ".join(column.words), found=value)
    return column.words.index(value)


def _number(name: str, value: Any) -> Decimal:
    """Return a number as what it shows: of a float, its shortest text."""
    try:
        found = Decimal(repr(value) if isinstance(value, float) else str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or isinstance(value, bool):
        raise ConfigError(f"{name} is compared with a number", found=value)
    return found


def _integral(sign: str, bound: Decimal) -> tuple[str, int]:
    """Return the same comparison of an integer with an integer."""
    low, high = (int(bound.to_integral_value(rounding=way)) for way in (ROUND_FLOOR, ROUND_CEILING))
    if low == high:
        return sign, low
    if sign in ("==", "!="):
        return sign, INT64_MAX + 1  # between two integers: equal to none
    return ("<=", low) if sign in ("<", "<=") else (">=", high)
