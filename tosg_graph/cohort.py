"""Cohort expressions: parsed to a tree, checked against the columns, compiled to bound parameters.

The grammar is ``cohort.lark``; docs/cohort-grammar.md says what each part means. Whatever is not in the
grammar is refused here, before DuckDB sees it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import CohortError
from tosg_graph.resources import grammar, schema

if TYPE_CHECKING:
    import lark

Constant = str | int | float | bool
ExpandTerm = Callable[[str, str], frozenset[str] | None]
"""``(column, value)`` -> ids of the term and of everything below it; None if ``value`` is no term."""

MAX_LENGTH = 20_000  # characters; a list of thousands of values belongs in a column of its own
MAX_NESTING = 100  # parentheses and NOTs
_INT64 = 2**63


@dataclass(frozen=True)
class Test:
    """One predicate: ``operator`` is a comparison, ``IN``, ``BETWEEN``, ``LIKE`` or ``IS NULL``."""

    column: str
    operator: str
    constants: tuple[Constant, ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Not:
    """Negation, in three-valued logic: unknown stays unknown."""

    part: Node


@dataclass(frozen=True)
class Every:
    """All parts hold; no parts: all cells."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Some:
    """At least one part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Among:
    """A column holds one of many values that the program itself found; a person's values are a `Test`."""

    column: str
    values: tuple[str, ...]


Node = Test | Not | Every | Some | Among


@dataclass(frozen=True)
class Cohort:
    """A checked expression over known columns."""

    expression: str
    tree: Node
    types: Mapping[str, str]  # column -> DuckDB type, of the columns it was checked against

    def columns(self) -> set[str]:
        """Names of the columns that the expression tests."""
        return {test.column for test in tests(self.tree)}

    def among(self, groups: Iterable[tuple[Iterable[str], Iterable[str]]], why: str) -> Cohort:
        """Return the cells of this cohort that also have, in every group, a value in one of its columns.

        Parameters
        ----------
        groups
            Pairs of columns and values.
        why
            Says in messages where the values come from.
        """
        parts = [
            Some(tuple(Among(column, tuple(values)) for column in columns)) for columns, values in groups
        ]
        return Cohort(f"{self.expression} {why}", Every((self.tree, *parts)), self.types)

    def to_sql(self, expand_term: ExpandTerm) -> tuple[str, list[Any]]:
        """Compile to the text of a WHERE clause with ``?`` marks, and its parameters in order.

        Parameters
        ----------
        expand_term
            Called for ``=``, ``!=``, ``IN`` and ``NOT IN`` on ontology columns.
        """
        parameters: list[Any] = []
        return _sql(self.tree, self.types, expand_term, parameters), parameters


def tests(node: Node) -> Iterable[Test]:
    """Yield the predicates of a tree from left to right."""
    if isinstance(node, Test):
        yield node
    elif isinstance(node, Not):
        yield from tests(node.part)
    elif isinstance(node, Every | Some):
        for part in node.parts:
            yield from tests(part)


def parse(expression: str, columns: Mapping[str, str]) -> Cohort:
    """Parse and check a cohort expression.

    Parameters
    ----------
    expression
        Text in the grammar of docs/cohort-grammar.md; ``true`` selects all cells.
    columns
        Name -> DuckDB type of the columns that may be used.

    Raises
    ------
    CohortError
        If the text is outside the grammar, names an unknown column, or compares a column with a constant of
        another type.
    """
    if expression.strip().upper() == "TRUE":  # the usual one, and the grammar takes a while to build
        return Cohort(expression, Every(()), dict(columns))
    import lark

    _bound(expression)
    try:
        tree: Node = _reader().transform(_parser().parse(expression))
    except lark.exceptions.UnexpectedInput as error:
        raise CohortError(_syntax_message(expression, error)) from error
    except lark.exceptions.VisitError as error:
        if isinstance(error.orig_exc, CohortError):
            raise error.orig_exc from None
        raise
    tree = _by_own_names(tree, columns)
    for test in tests(tree):
        _check(test, columns)
    return Cohort(expression, tree, dict(columns))


def ontology_columns() -> frozenset[str]:
    """Names of the columns whose values are terms of an ontology."""
    return frozenset(name for name, column in schema("cells")["columns"].items() if "ontology" in column)


def identifier(column: str, known: Mapping[str, str]) -> str:
    """Quote a column's name for SQL: the only place where a name enters SQL text.

    Raises
    ------
    CohortError
        If it is not exactly one of the ``known`` columns.
    """
    if column not in known:
        near = difflib.get_close_matches(column, known, n=3, cutoff=0.5)
        same = [
            name for name in known if name.lower() == column.lower() or name == _other_names().get(column)
        ]
        hint = (
            f" Did you mean {' or '.join(map(repr, dict.fromkeys([*same, *near])))}?" if same or near else ""
        )
        raise CohortError(
            f"The cells have no column {column!r}.{hint} `tosg cohort true` shows columns and values."
        )
    return '"' + column.replace('"', '""') + '"'


def single_valued(column: str, known: Mapping[str, str]) -> str:
    """Quote a column that cells can be counted or grouped by, as `identifier`.

    Raises
    ------
    CohortError
        If it is none of the ``known`` columns, or holds lists.
    """
    quoted, kind = identifier(column, known), known[column].upper()
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        raise CohortError(
            f"The column {column!r} holds several values per cell ({kind}), and cells are grouped by one. Choose "
            "another column; `tosg cohort true` shows some."
        )
    return quoted


@cache
def _other_names() -> dict[str, str]:
    """The name that a core column has in CELLxGENE's schema -> ours, and the other way round."""
    pairs = [(spec["alias"], name) for name, spec in schema("cells")["columns"].items() if "alias" in spec]
    return {**dict(pairs), **{ours: theirs for theirs, ours in pairs}}


# --------------------------------------------------------------------------- text to tree


@cache
def _parser() -> lark.Lark:
    import lark

    return lark.Lark(grammar("cohort"), parser="lalr", lexer="contextual", maybe_placeholders=False)


@cache
def _reader() -> lark.Transformer[Any, Any]:
    import lark

    def negate(name: str) -> Callable[..., Test]:
        return lambda _self, column, *constants: Test(column, name, constants, negated=True)

    def plain(name: str) -> Callable[..., Test]:
        return lambda _self, column, *constants: Test(column, name, constants)

    @lark.v_args(inline=True)
    class Reader(lark.Transformer[Any, Any]):
        def start(self, node: Node) -> Node:
            return node

        def all_cells(self) -> Node:
            return Every(())

        def disjunction(self, *parts: Node) -> Node:
            return Some(parts)

        def conjunction(self, *parts: Node) -> Node:
            return Every(parts)

        def negated(self, part: Node) -> Node:
            return Not(part)

        def compare(self, column: str, operator: lark.Token, constant: Constant) -> Test:
            name = "!=" if operator == "<>" else str(operator)
            return Test(column, name, (constant,))

        def truth(self, column: str) -> Test:
            return Test(column, "=", (True,))

        within, not_within = plain("IN"), negate("IN")
        between, not_between = plain("BETWEEN"), negate("BETWEEN")
        like, not_like = plain("LIKE"), negate("LIKE")
        is_null, is_not_null = plain("IS NULL"), negate("IS NULL")

        def bare(self, name: lark.Token) -> str:
            return str(name)

        def quoted(self, name: lark.Token) -> str:
            return str(name)[1:-1].replace('""', '"')

        def string(self, text: lark.Token) -> str:
            return str(text)[1:-1].replace("''", "'")

        def number(self, text: lark.Token) -> int | float:
            return _number(str(text))

        def true(self, _: lark.Token) -> bool:
            return True

        def false(self, _: lark.Token) -> bool:
            return False

    return Reader()


def _number(text: str) -> int | float:
    if not text.lstrip("-").isdigit():
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise CohortError(f"{text} is too large for a number. The largest is about 1.8e308.")
        return value
    whole = int(text)
    if not -_INT64 <= whole < _INT64:
        raise CohortError(f"{text} does not fit 64 bits. Whole numbers go from -2^63 to 2^63-1.")
    return whole


def _bound(expression: str) -> None:
    if not expression.strip():
        raise CohortError("The cohort expression is empty. Write `true` for all cells.")
    if len(expression) > MAX_LENGTH:
        raise CohortError(
            f"The cohort expression has {len(expression):,} characters, at most {MAX_LENGTH:,} are read. "
            "Add a column to the cells that says the same."
        )
    bad = next((c for c in expression if ord(c) < 32 and c not in "\t\r\n"), None)
    if bad is not None:
        raise CohortError(f"The cohort expression holds the control character {bad!r}. Remove it.")
    deep = expression.count("(") + expression.upper().count("NOT")
    if deep > MAX_NESTING and _depth(expression) > MAX_NESTING:
        raise CohortError(
            f"The cohort expression nests deeper than {MAX_NESTING} parentheses and NOTs. Write it flatter."
        )


def _depth(expression: str) -> int:
    """Bound the nesting from above: open parentheses at once, plus the longest run of NOTs."""
    import re

    outside = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", expression)
    depth = deepest = 0
    for character in outside:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    runs = re.findall(r"(?:\bNOT[\s(]+)+", outside, flags=re.IGNORECASE)
    return deepest + max((run.upper().count("NOT") for run in runs), default=0)


def _syntax_message(expression: str, error: lark.exceptions.UnexpectedInput) -> str:
    place = error.pos_in_stream if error.pos_in_stream is not None else len(expression)
    token = getattr(error, "token", None)
    at_end = place < 0 or place >= len(expression) or (token is not None and token.type == "$END")
    if at_end:
        where = f"ends too early, after {expression[-20:]!r}"
    else:
        where = f"cannot be read at character {place + 1}, near {expression[place : place + 20]!r}"
    return (
        f"The cohort expression {where}. It may hold =, !=, <, <=, >, >=, IN, BETWEEN, LIKE, IS NULL, "
        "AND, OR, NOT and parentheses over columns and constants ('text' in single quotes); see docs/cohort-grammar.md."
    )


# --------------------------------------------------------------------------- checks


def kind_of(duckdb_type: str) -> str:
    """``text``, ``number`` or ``truth`` of a DuckDB type; the type itself where it is none of these."""
    name = duckdb_type.upper()
    if name.endswith("[]"):
        return name
    if name.startswith(("VARCHAR", "ENUM")):
        return "text"
    if name == "BOOLEAN":
        return "truth"
    if name.startswith(
        ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U", "FLOAT", "DOUBLE", "DECIMAL")
    ):
        return "number"
    return name


def _by_own_names(node: Node, columns: Mapping[str, str]) -> Node:
    """Give columns that were written as CELLxGENE calls them the name they have, and the other way round."""
    if isinstance(node, Not):
        return Not(_by_own_names(node.part, columns))
    if isinstance(node, Every | Some):
        return type(node)(tuple(_by_own_names(part, columns) for part in node.parts))
    if node.column in columns:
        return node
    other = _other_names().get(node.column, node.column)
    return replace(node, column=other) if other in columns else node


_EXAMPLES = {"text": "'text' in single quotes", "number": "a number", "truth": "TRUE or FALSE"}


def _check(test: Test, columns: Mapping[str, str]) -> None:
    identifier(test.column, columns)
    kind = kind_of(columns[test.column])
    if test.operator == "IS NULL":
        return
    if kind not in _EXAMPLES:
        raise CohortError(
            f"The column {test.column!r} is a {kind}: only IS NULL and IS NOT NULL can test it."
        )
    if test.operator == "LIKE" and kind != "text":
        raise CohortError(
            f"LIKE compares text, but the column {test.column!r} holds {kind}s. Use =, < or BETWEEN."
        )
    if test.operator not in ("=", "!=", "IN") and kind == "truth":
        raise CohortError(
            f"The column {test.column!r} is TRUE or FALSE: test it with = or !=, not {test.operator}."
        )
    for constant in test.constants:
        found = "truth" if isinstance(constant, bool) else "text" if isinstance(constant, str) else "number"
        if found != kind:
            raise CohortError(
                f"The column {test.column!r} holds {kind} but is compared with {constant!r}. "
                f"Write {_EXAMPLES[kind]}."
            )


# --------------------------------------------------------------------------- tree to SQL


def _sql(node: Node, types: Mapping[str, str], expand: ExpandTerm, parameters: list[Any]) -> str:
    if isinstance(node, Not):
        return f"NOT ({_sql(node.part, types, expand, parameters)})"
    if isinstance(node, Every | Some):
        joined = " AND " if isinstance(node, Every) else " OR "
        return joined.join(f"({_sql(p, types, expand, parameters)})" for p in node.parts) or "TRUE"
    if isinstance(node, Among):
        parameters.append(list(node.values))
        return f"{identifier(node.column, types)} IN (SELECT unnest(?::VARCHAR[]))"
    text = _test_sql(node, types, expand, parameters)
    return f"NOT ({text})" if node.negated else text


def _test_sql(test: Test, types: Mapping[str, str], expand: ExpandTerm, parameters: list[Any]) -> str:
    column = identifier(test.column, types)
    if test.operator == "IS NULL":
        return f"{column} IS NULL"
    # A store of before the column was mapped has it as the files gave it, and no ids.
    has_terms = test.column in ontology_columns() and f"{test.column}_id" in types
    if test.operator in ("=", "!=", "IN") and has_terms:
        terms = _terms(test, expand)
        if terms:
            parameters += [terms, list(test.constants)]
            ids = identifier(f"{test.column}_id", types)
            text = f"{ids} IN (SELECT unnest(?)) OR {column} IN (SELECT unnest(?))"
            return f"NOT ({text})" if test.operator == "!=" else text
    parameters += test.constants
    if test.operator == "IN":
        return f"{column} IN ({', '.join('?' * len(test.constants))})"
    if test.operator == "BETWEEN":
        return f"{column} BETWEEN ? AND ?"
    return f"{column} {test.operator} ?"


def _terms(test: Test, expand: ExpandTerm) -> list[str]:
    """Ids of all terms that the constants name, and of everything below them, sorted."""
    found: set[str] = set()
    for constant in test.constants:
        found |= expand(test.column, str(constant)) or frozenset()
    return sorted(found)
