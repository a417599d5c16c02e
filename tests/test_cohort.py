"""Cohort expressions: the same cells as pandas selects, and nothing that is not in the grammar."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tosg_graph.cohort import identifier, parse, single_valued
from tosg_graph.errors import CohortError

ROOT = Path(__file__).parent.parent
COLUMNS = {
    "cell_id": "VARCHAR",
    "sex": "VARCHAR",
    "n_counts": "BIGINT",
    "pct mito": "DOUBLE",
    "doublet": "BOOLEAN",
    "is_primary_data": "BOOLEAN",
    "cell_type": "VARCHAR",
    "cell_type_id": "VARCHAR",
    'odd "name"': "VARCHAR",
    "born": "TIMESTAMP",
}
TERMS = {
    "T cell": frozenset({"CL:1", "CL:2"}),
    "CL:1": frozenset({"CL:1", "CL:2"}),
    "T helper": frozenset({"CL:2"}),
    "B cell": frozenset({"CL:3"}),
}


def expand(column: str, value: str) -> frozenset[str] | None:
    assert column == "cell_type"
    return TERMS.get(value)


def sql(expression: str) -> tuple[str, list[Any]]:
    return parse(expression, COLUMNS).to_sql(expand)


# --------------------------------------------------------------------------- against pandas

TEXTS = ["f", "m", "F", "", "o'neil", "100%", "a_b", "ä", None]
TYPES = [("T cell", "CL:1"), ("T helper", "CL:2"), ("B cell", "CL:3"), ("unmapped", None), (None, None)]


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    size = draw(st.integers(1, 12))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=size, max_size=size))

    types = column(st.sampled_from(TYPES))
    return pd.DataFrame(
        {
            "sex": pd.array(column(st.sampled_from(TEXTS)), dtype="string"),
            "n_counts": pd.array(
                column(st.none() | st.integers(-3, 3) | st.sampled_from([2**53 + 1, -(2**63)])), "Int64"
            ),
            "pct mito": pd.array(
                column(st.none() | st.sampled_from([-1.5, 0.0, 0.1, 2.0, 1e300])), dtype="Float64"
            ),
            "doublet": pd.array(column(st.none() | st.booleans()), dtype="boolean"),
            "cell_type": pd.array([name for name, _ in types], dtype="string"),
            "cell_type_id": pd.array([id_ for _, id_ in types], dtype="string"),
        }
    )


def quote(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


Mask = Any  # a function from the frame to a nullable boolean series: Kleene's logic, as in SQL


def comparison(operator: str, column: str, value: Any) -> Mask:
    def mask(frame: pd.DataFrame) -> Any:
        series = frame[column]
        found = {
            "=": series == value,
            "!=": series != value,
            "<>": series != value,
            "<": series < value if operator == "<" else None,
            "<=": series <= value if operator == "<=" else None,
            ">": series > value if operator == ">" else None,
            ">=": series >= value if operator == ">=" else None,
        }[operator]
        return found.astype("boolean")

    return mask


def like_pattern(pattern: str) -> str:
    return "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)


CONSTANTS: dict[str, st.SearchStrategy[Any]] = {
    "sex": st.sampled_from([t for t in TEXTS if t is not None] + ["zz"]),
    "n_counts": st.integers(-3, 3) | st.sampled_from([0.5, 2**53 + 1, -(2**63)]),
    "pct mito": st.sampled_from([-1.5, 0.0, 0.1, 2.0, 1e300, 1, 0]),
    "doublet": st.booleans(),
}
NAMES = {"sex": "sex", "n_counts": "n_counts", "pct mito": '"pct mito"', "doublet": "doublet"}
Pair = tuple[str, Mask]


@st.composite
def predicates(draw: st.DrawFn) -> Pair:
    column = draw(st.sampled_from(sorted(CONSTANTS)))
    name, constants = NAMES[column], CONSTANTS[column]
    kinds = (
        ["compare", "in", "null"]
        + (["between"] if column != "doublet" else [])
        + (["like"] if column == "sex" else [])
    )
    kind = draw(st.sampled_from(kinds))
    negated = draw(st.booleans())
    no = "NOT " if negated else ""
    if kind == "compare":
        operators = ["=", "!=", "<>"] + ([] if column == "doublet" else ["<", "<=", ">", ">="])
        operator, value = draw(st.sampled_from(operators)), draw(constants)
        return f"{name} {operator} {quote(value)}", comparison(operator, column, value)
    if kind == "null":
        return f"{name} IS {no}NULL", lambda f: (f[column].notna() if negated else f[column].isna()).astype(
            "boolean"
        )
    if kind == "in":
        values = draw(st.lists(constants, min_size=1, max_size=3))
        text = f"{name} {no}in ({', '.join(map(quote, values))})"

        def within(f: pd.DataFrame) -> Any:
            found = comparison("=", column, values[0])(f)
            for value in values[1:]:
                found = found | comparison("=", column, value)(f)
            return ~found if negated else found

        return text, within
    if kind == "like":
        pattern = draw(st.sampled_from(["%", "f%", "_", "a_b", "100%", "%'%", "", "F"]))
        text = f"{name} {no}LIKE {quote(pattern)}"

        def like(f: pd.DataFrame) -> Any:
            found = f[column].str.fullmatch(like_pattern(pattern)).astype("boolean")
            return ~found if negated else found

        return text, like
    low, high = draw(constants), draw(constants)

    def between(f: pd.DataFrame) -> Any:
        found = comparison(">=", column, low)(f) & comparison("<=", column, high)(f)
        return ~found if negated else found

    return f"{name} {no}BETWEEN {quote(low)} AND {quote(high)}", between


@st.composite
def term_tests(draw: st.DrawFn) -> Pair:
    """Tests of an ontology column: a term means everything below it; unmapped is no answer, yes or no."""
    values = draw(st.lists(st.sampled_from([*TERMS, "unmapped"]), min_size=1, max_size=2, unique=True))
    negated = draw(st.booleans())
    ids = sorted({i for v in values for i in TERMS.get(v, ())})

    def mask(f: pd.DataFrame) -> Any:
        found = f["cell_type"].isin(values).astype("boolean").mask(f["cell_type"].isna(), pd.NA)
        if ids:
            found = found | f["cell_type_id"].isin(ids).astype("boolean").mask(
                f["cell_type_id"].isna(), pd.NA
            )
        return ~found if negated else found

    if len(values) == 1 and draw(st.booleans()):
        return f"cell_type {'!=' if negated else '='} {quote(values[0])}", mask
    return f"cell_type {'NOT ' if negated else ''}IN ({', '.join(map(quote, values))})", mask


def join(word: str, left: Pair, right: Pair) -> Pair:
    def mask(f: pd.DataFrame) -> Any:
        return left[1](f) & right[1](f) if word.upper() == "AND" else left[1](f) | right[1](f)

    return f"({left[0]}) {word} ({right[0]})", mask


EXPRESSIONS = st.recursive(
    predicates() | term_tests(),
    lambda inner: (
        st.builds(join, st.sampled_from(["AND", "or", "OR", "and"]), inner, inner)
        | st.builds(lambda p: (f"NOT ({p[0]})", lambda f: ~p[1](f)), inner)
    ),
    max_leaves=8,
)


def selected(expression: str, frame: pd.DataFrame) -> list[int]:
    """Row numbers that DuckDB selects."""
    where, parameters = sql(expression)
    statement = f"SELECT row FROM cells WHERE {where} ORDER BY row"  # noqa: S608  # what is tested here
    cells = frame.assign(row=range(len(frame))).convert_dtypes(dtype_backend="pyarrow")
    connection = database()
    connection.register("cells", cells)  # in place of those before
    return [row for (row,) in connection.execute(statement, parameters).fetchall()]


@cache
def database() -> duckdb.DuckDBPyConnection:
    """One for all examples: to make one takes longer than to ask it."""
    return duckdb.connect(":memory:", config={"threads": 1})


@settings(max_examples=300, deadline=None)
@given(frame=frames(), pair=EXPRESSIONS)
def test_random_expressions_select_what_pandas_selects(frame: pd.DataFrame, pair: Pair) -> None:
    expression, mask = pair
    expected = frame.index[mask(frame).fillna(False).astype(bool)].tolist()
    assert selected(expression, frame) == expected, expression


@settings(max_examples=200, deadline=None)
@given(
    frame=frames(),
    parts=st.lists(predicates(), min_size=2, max_size=5),
    words=st.lists(st.sampled_from(["AND", "OR"]), min_size=4, max_size=4),
    no=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_not_binds_tighter_than_and_and_and_tighter_than_or(
    frame: Any, parts: Any, words: Any, no: Any
) -> None:
    """The same precedence as Python's ``~``, ``&`` and ``|``, without any parentheses in the expression."""
    expression, python, names = "", "", {}
    for at, (text, mask) in enumerate(parts):
        word, sign = (words[at - 1], {"AND": "&", "OR": "|"}[words[at - 1]]) if at else ("", "")
        expression += f" {word} {'NOT ' if no[at] else ''}{text}"
        python += f" {sign} {'~' if no[at] else ''}p{at}"
        names[f"p{at}"] = mask(frame)
    expected = eval(python, {}, names).fillna(False).astype(bool)
    assert selected(expression, frame) == frame.index[expected].tolist(), expression


# --------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("expression", "where", "parameters"),
    [
        ("true", "TRUE", []),
        ("  TRUE ", "TRUE", []),
        ("sex = 'f'", '"sex" = ?', ["f"]),
        ("sex <> 'o''neil'", '"sex" != ?', ["o'neil"]),
        ('"pct mito" < -1.5e2', '"pct mito" < ?', [-150.0]),
        ('"odd ""name""" = \'x\'', '"odd ""name""" = ?', ["x"]),
        ("doublet = FALSE", '"doublet" = ?', [False]),
        (
            "NOT n_counts between 1 and 2 AND sex IS NULL",
            '(NOT ("n_counts" BETWEEN ? AND ?)) AND ("sex" IS NULL)',
            [1, 2],
        ),
        ("cell_type_id = 'CL:1'", '"cell_type_id" = ?', ["CL:1"]),
        ("sex = '; DROP TABLE cells; --'", '"sex" = ?', ["; DROP TABLE cells; --"]),
        ("sex = 'read_text(''/etc/passwd'')'", '"sex" = ?', ["read_text('/etc/passwd')"]),
        ("born IS NOT NULL", 'NOT ("born" IS NULL)', []),
        ("doublet", '"doublet" = ?', [True]),
        ("NOT (doublet) AND sex = 'f'", '(NOT ("doublet" = ?)) AND ("sex" = ?)', [True, "f"]),
        ("is_primary", '"is_primary_data" = ?', [True]),
        ("sex = 'f' OR NOT is_primary = FALSE", '("sex" = ?) OR (NOT ("is_primary_data" = ?))', ["f", False]),
    ],
)
def test_expressions_become_marks_and_parameters(expression: str, where: str, parameters: list[Any]) -> None:
    assert sql(expression) == (where, parameters)


def test_a_term_means_everything_below_it_and_an_id_is_exact() -> None:
    assert sql("cell_type = 'T cell'")[1] == [["CL:1", "CL:2"], ["T cell"]]
    assert sql("cell_type_id = 'CL:1'")[1] == ["CL:1"]


def test_an_alias_stands_back_where_a_column_has_its_name() -> None:
    columns = {**COLUMNS, "is_primary": "BOOLEAN"}
    assert parse("is_primary", columns).to_sql(expand) == ('"is_primary" = ?', [True])
    with pytest.raises(CohortError, match="no column 'is_primary'"):
        parse("is_primary", {"sex": "VARCHAR"})


def test_columns_may_be_called_as_in_cellxgenes_schema() -> None:
    columns = {"is_primary": "BOOLEAN", "donor": "VARCHAR", "organ": "VARCHAR"}
    wanted = parse("is_primary_data AND donor_id IN ('d1') AND tissue_general IS NULL", columns)
    assert wanted.columns() == set(columns)
    assert parse("donor = 'd1'", {"donor_id": "VARCHAR"}).columns() == {"donor_id"}
    with pytest.raises(CohortError, match=r"no column 'tissue_general'.*mean 'organ'"):
        identifier("tissue_general", columns)


@pytest.mark.parametrize("kind", ["VARCHAR[]", "INTEGER[3]", "STRUCT(a INTEGER)", "MAP(VARCHAR, INTEGER)"])
def test_cells_are_grouped_by_columns_of_one_value(kind: str) -> None:
    with pytest.raises(CohortError, match="'members' holds several values per cell"):
        single_valued("members", {"members": kind})
    assert single_valued("sum", {"sum": "DECIMAL(18,3)"}) == '"sum"'


def test_the_columns_of_an_expression_are_known() -> None:
    assert parse("sex = 'f' OR NOT (n_counts > 1 AND sex = 'm')", COLUMNS).columns() == {"sex", "n_counts"}


ATTACKS = [
    "cell_id IN (SELECT cell_id FROM cells)",
    "sex = (SELECT 'f')",
    "EXISTS (SELECT 1)",
    "n_counts > (SELECT max(n_counts) FROM cells)",
    "sex = 'f' UNION SELECT 1",
    "lower(sex) = 'f'",
    "sex = lower('F')",
    "read_text('/etc/passwd') = 'x'",
    "sex = read_text('/etc/passwd')",
    "sex IN (read_csv('/etc/passwd'))",
    "getenv('HOME') = 'x'",
    "sex = current_user",
    "sex = 'f'; DROP TABLE cells",
    "sex = 'f'; COPY cells TO '/tmp/x'",
    "COPY cells TO '/tmp/x.csv'",
    "ATTACH '/tmp/x.db'",
    "INSTALL httpfs",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "sex = 'f' -- comment",
    "sex = 'f' /* comment */",
    "sex = 'f' # comment",
    "/* x */ true",
    "sex = 'f' OR 1 = 1",
    "1 = 1",
    "'f' = sex",
    "sex = sex",
    "sex = n_counts",
    "n_counts + 1 > 2",
    "n_counts > 1 + 1",
    "n_counts::VARCHAR = '1'",
    "CAST(n_counts AS VARCHAR) = '1'",
    "CASE WHEN sex = 'f' THEN true END",
    "sex || 'x' = 'fx'",
    "sex SIMILAR TO 'f.*'",
    "sex ~ 'f'",
    "sex GLOB '*'",
    "sex ILIKE 'f'",
    "sex LIKE 'f' ESCAPE '!'",
    "sex = $$f$$",
    "sex = E'\\x41'",
    "sex = ?",
    "sex = $1",
    "sex = :name",
    "n_counts = 0x10",
    "n_counts = 1_000",
    "n_counts = 1e999",
    "n_counts = nan",
    "n_counts IN ()",
    "n_counts IN (1, )",
    "* = 1",
    "cells.sex = 'f'",
    "main.cells.sex = 'f'",
    "rowid = 1",
    "filename = 'x'",
    "no_such_column = 'f'",
    "\"sex' OR 1=1\" = 'f'",
    "\"\" = 'f'",
    "sex = 'f",
    'sex = "f"',
    "sex = `f`",
    "(sex = 'f'",
    "sex = 'f')",
    "sex = 'f' AND",
    "NOT",
    "true AND sex = 'f'",
    "sex = NULL",
    "sex IS 'f'",
    "sex BETWEEN 'a'",
    "sex = 'f'\x00",
    "sex = 'f'\u2028OR sex = 'm'",
    "sex\u00a0= 'f'",
    "",
    "   ",
    "(" * 5000 + "sex = 'f'" + ")" * 5000,
    "NOT " * 5000 + "sex = 'f'",
    "sex = '" + "x" * 30_000 + "'",
    "born = '2020-01-01'",
    "n_counts = 'many'",
    "sex = 1",
    "doublet > FALSE",
    "n_counts LIKE '1%'",
    "n_counts = 9223372036854775808",
]


@pytest.mark.parametrize("expression", ATTACKS, ids=[a[:40] for a in ATTACKS])
def test_what_is_not_in_the_grammar_is_refused_in_one_line(expression: str) -> None:
    with pytest.raises(CohortError) as refusal:
        parse(expression, COLUMNS)
    message = str(refusal.value)
    assert "\n" not in message
    assert len(message) < 700
    assert message.endswith(".") or message.endswith(".md.")


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("n_count > 1", "'n_counts'"),
        ("SEX = 'f'", "'sex'"),
        ("sex = ", "too early"),
        ("sex = 'f' XOR sex = 'm'", "character 11"),
        ("sex = 5", "'text' in single quotes"),
        ("sex", "holds text but is compared with True"),
    ],
)
def test_the_message_says_what_to_write(expression: str, says: str) -> None:
    with pytest.raises(CohortError, match=re.escape(says)):
        parse(expression, COLUMNS)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=st.sampled_from("sex='fn_counts ()ANDORTIL%;-*/\"1.5eé\n"), max_size=40))
def test_any_text_is_refused_or_becomes_marks(text: str) -> None:
    try:
        where, parameters = sql(text)
    except CohortError:
        return
    # Nothing of the text is in the SQL but column names and the words of the grammar.
    words = {"NOT", "AND", "OR", "IN", "BETWEEN", "LIKE", "IS", "NULL", "TRUE", "SELECT", "unnest"}
    bare = re.sub(r'"(?:[^"]|"")*"', "", where)
    assert set(re.findall(r"[A-Za-z_']+", bare)) <= words
    assert bare.count("?") == len(parameters)


# --------------------------------------------------------------------------- the published grammar


def test_the_documented_grammar_is_the_one_that_is_used() -> None:
    """Every rule of the EBNF in the docs is a rule of the parser, and the same words appear in both."""
    text = (ROOT / "docs" / "cohort-grammar.md").read_text(encoding="utf-8")
    ebnf = re.search(r"```ebnf\n(.*?)```", text, re.DOTALL)
    assert ebnf
    rules = set(re.findall(r"^(\w+) +=", ebnf.group(1), re.MULTILINE))
    lark = (ROOT / "tosg_graph" / "cohort.lark").read_text(encoding="utf-8")
    assert rules >= {"disjunction", "conjunction", "negation", "predicate", "column", "constant"}
    for rule in rules & {"disjunction", "conjunction", "negation", "predicate", "column", "constant"}:
        assert re.search(rf"^\??{rule}:", lark, re.MULTILINE)
    words = set(re.findall(r'"([A-Z]{2,})"', ebnf.group(1)))
    assert words == {w.upper() for w in re.findall(r"^_?(?:[A-Z]+)\.2: /(\w+)", lark, re.MULTILINE)}


def test_the_examples_of_the_docs_can_be_parsed_and_the_refused_ones_not() -> None:
    text = (ROOT / "docs" / "cohort-grammar.md").read_text(encoding="utf-8")
    columns = {
        **COLUMNS,
        "disease": "VARCHAR",
        "disease_id": "VARCHAR",
        "donor": "VARCHAR",
        "age_years": "DOUBLE",
        "assay": "VARCHAR",
        "organ": "VARCHAR",
    }
    accepted = re.search(r"```cohort\n(.*?)```", text, re.DOTALL)
    refused = re.search(r"```refused\n(.*?)```", text, re.DOTALL)
    assert accepted
    assert refused
    for line in accepted.group(1).strip().splitlines():
        parse(line, columns)
    for line in refused.group(1).strip().splitlines():
        with pytest.raises(CohortError):
            parse(line, columns)
