"""Whether a query only reads: asked of its text and of the server's plan, before it runs in read access mode.

Neither is enough alone. The plan is the server's own opinion, but hides what stands inside a nested
expression (``CASE ... THEN collect { CALL ... } END``), and its type is ``r`` for ``LOAD CSV``, for
``TERMINATE TRANSACTION`` and for procedures that reach outside the database. The text shows every name that
is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import QueryError

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

# Lower case; a trailing dot allows the whole namespace. docs/query.md shows these lists.
PROCEDURES = (
    "db.index.fulltext.querynodes",
    "db.index.fulltext.queryrelationships",
    "db.index.vector.querynodes",
    "db.index.vector.queryrelationships",
    "db.labels",
    "db.propertykeys",
    "db.relationshiptypes",
    "db.schema.",
    "apoc.neighbors.",
    "apoc.path.",
)
FUNCTIONS = (
    "date.",
    "datetime.",
    "duration.",
    "localdatetime.",
    "localtime.",
    "point.",
    "time.",
    "vector.similarity.",
    "apoc.coll.",
    "apoc.map.",
    "apoc.math.",
    "apoc.number.",
    "apoc.text.",
    "gds.similarity.",
)

_TOKEN = re.compile(
    r"""
      (?P<comment>//[^\r\n]*|/\*.*?\*/)
    | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<quoted>`(?:[^`]|``)*`)
    | (?P<name>[^\W\d]\w*)
    | (?P<number>\d\w*)
    | (?P<space>\s+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_PREFIXES = {
    "EXPLAIN": "Write the query without it; nothing is run that is not asked for",
    "PROFILE": "Profile it in Neo4j Browser",
    "CYPHER": "The server's own settings are used; write the query without it",
    "USE": "One database is read; name another server with --uri",
}
_COMMANDS = frozenset(("SHOW", "TERMINATE", "ALTER", "GRANT", "DENY", "REVOKE", "RENAME", "START", "STOP"))


def check_reads_only(graph: Graph, query: str, parameters: Mapping[str, Any] | None = None) -> list[str]:
    """Refuse ``query`` unless it is one statement that reads the graph and nothing else; it is not run.

    Parameters
    ----------
    parameters
        Values of its ``$parameters``, as it will be run with.

    Returns
    -------
    list of str
        Names of the columns that it returns, in order.

    Raises
    ------
    QueryError
        In one line: what is refused and what to do instead. A syntax error keeps the server's caret lines.
    """
    if not query.strip():
        raise QueryError("The query is empty. Write Cypher that returns something: MATCH (g:Gene) RETURN g")
    _check_text(query)
    summary = graph.explain(query, dict(parameters or {}))
    operators = list(_operators(summary.plan)) if summary.plan else []
    _check_operators(operators)
    if summary.query_type != "r":
        raise QueryError(_writes(summary.query_type, operators))
    # Values play no part in the names, so that none of them is sent a second time.
    columns: list[str] = graph.columns("EXPLAIN\n" + query).column_names
    if not columns:
        raise QueryError("The query returns no columns. End it with RETURN and what you want to see.")
    return columns


# --------------------------------------------------------------------------- the text


def _check_text(query: str) -> None:
    # Neo4j reads \uXXXX as that character anywhere, before it looks for quotes and names.
    if re.search(r"\\u", query, re.IGNORECASE):
        raise QueryError(r"The query has a \u escape, which is not accepted. Write the character itself.")
    tokens = list(_tokens(query))
    while tokens and tokens[-1] == ";":
        tokens.pop()
    words = [token.upper() for token in tokens]
    if not words:
        raise QueryError("The query is only a comment. Write Cypher that returns something.")
    if ";" in words:
        raise QueryError("The query has several statements. Send one, without ';' inside.")
    _check_words(words)
    for name in _called(tokens, words):
        _check_procedure(name)
    for name in _functions(tokens):
        _check_function(name)


def _check_words(words: Sequence[str]) -> None:
    for word, advice in _PREFIXES.items():
        # USE may also start each part of a query.
        starts = word == words[0] or (word == "USE" and _starts_a_part(words))
        if starts:
            raise QueryError(f"{word} is not accepted in front of a query. {advice}.")
    if words[0] in _COMMANDS:
        raise QueryError(_command(words[0]))
    text = " ".join(words)
    if re.search(r"(^|[^.:$] )LOAD CSV\b", text):
        raise QueryError(_load_csv())
    if re.search(r"\} IN (\S+ )?(\S+ )?(CONCURRENT )?TRANSACTIONS?\b", text):
        raise QueryError(_in_transactions())


def _starts_a_part(words: Sequence[str]) -> bool:
    before = {"{", "UNION", "ALL", "DISTINCT", ")"}
    return any(
        word == "USE" and words[place - 1] in before and words[place + 1 : place + 2] not in ([":"], [","])
        for place, word in enumerate(words)
        if place
    )


def _tokens(query: str) -> Iterator[str]:
    """Names, signs and back-quoted names (without the quotes); strings as ``''``, comments left out."""
    for match in _TOKEN.finditer(query):
        kind, text = match.lastgroup, match.group()
        if kind in ("comment", "space"):
            continue
        if kind == "string":
            yield "''"
        elif kind == "quoted":
            yield re.sub(r"\W", "_", text[1:-1]) or "_"  # a sign in quotes is no sign
        elif kind == "other" and not (text.isascii() and text.isprintable()):
            # Neo4j has its own idea of blanks; none of them may hide a name from us.
            raise QueryError(
                f"The query has the character U+{ord(text):04X} outside quotes. Write ASCII signs there."
            )
        else:
            yield text


def parameter_names(query: str) -> set[str]:
    """Names of the ``$parameters`` in a query; comments and strings hold none."""
    tokens = list(_tokens(query))
    return {name for sign, name in pairwise(tokens) if sign == "$"}


def _dotted(tokens: Sequence[str], place: int) -> tuple[str, int]:
    """Return the name with dots that starts at ``place``, and the place after it."""
    end = place + 1
    while end + 1 < len(tokens) and tokens[end] == ".":
        end += 2
    return "".join(tokens[place:end]), end


def _called(tokens: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Names behind CALL; every procedure lives in a namespace, so a name without a dot is none."""
    for place, word in enumerate(words[:-1]):
        if word == "CALL" and (place == 0 or words[place - 1] not in (".", "$")):
            name, _ = _dotted(tokens, place + 1)
            if "." in name.strip("."):
                yield name


def _functions(tokens: Sequence[str]) -> Iterator[str]:
    """Names with dots in front of a parenthesis; those without a dot are Cypher's own functions."""
    place = 0
    while place < len(tokens):
        name, end = _dotted(tokens, place)
        called = place and tokens[place - 1].upper() == "CALL"
        if end - place > 1 and tokens[end : end + 1] == ["("] and not called:
            yield name
        place = end


def _check_procedure(name: str) -> None:
    if not _allowed(name, PROCEDURES):
        raise QueryError(
            f"The procedure {name} is not on the list of those that only read the graph. "
            "Use MATCH instead, or one of the list in docs/query.md."
        )


def _check_function(name: str) -> None:
    if not _allowed(name, FUNCTIONS):
        raise QueryError(
            f"The function {name} is not on the list of those that only compute. "
            "Use Cypher's own functions, or one of the list in docs/query.md."
        )


def _allowed(name: str, known: Sequence[str]) -> bool:
    low = name.lower()
    return any(low.startswith(entry) if entry.endswith(".") else low == entry for entry in known)


# --------------------------------------------------------------------------- the plan


def _operators(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Operator and details of each step of a plan, such as ``("ProcedureCall", "db.labels() :: ...")``."""
    details = str(plan.get("args", {}).get("Details", ""))
    yield str(plan["operatorType"]).split("@")[0], details
    for child in plan.get("children", ()):
        yield from _operators(child)


def _check_operators(operators: Sequence[tuple[str, str]]) -> None:
    for operator, details in operators:
        if operator == "LoadCSV":
            raise QueryError(_load_csv())
        if operator.startswith("Transaction"):
            raise QueryError(_in_transactions())
        if operator == "ProcedureCall":
            _check_procedure(details.split("(")[0].replace("`", ""))
        elif re.match(r"Show|Terminate|AdministrationCommand", operator):
            raise QueryError(_command(operator))


def _writes(query_type: str | None, operators: Sequence[tuple[str, str]]) -> str:
    if query_type == "s":
        return _command(operators[0][0] if operators else "command")
    changing = [o for o, _ in operators if re.search(r"Create|Delete|Merge|Set|Remove|Foreach", o)]
    what = f" ({changing[-1]})" if changing else ""
    return f"The query writes{what}; only reading is allowed here. Return what it matches instead."


def _command(word: str) -> str:
    return f"{word} is a command to the server, not a question to the graph. Run it in Neo4j Browser."


def _load_csv() -> str:
    return "LOAD CSV reads files, and only the graph is read here. Load knowledge with `tosg load`."


def _in_transactions() -> str:
    return "CALL { ... } IN TRANSACTIONS is for writing; only reading is allowed here. Leave it out."
