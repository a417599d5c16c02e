"""Rows of somebody else's graph as our tables: which label a node gets, which verb a statement becomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

from loaders.tables import ROW, Row, arrow, content, edge_table, node_table, rows_of
from tosg_graph.contract import allows, edge_columns, id_prefixes
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Reject, SourceOption

# A statement whose verb is not allowed between its ends keeps its own predicate as `relation`.
NEUTRAL = "ASSOCIATED_WITH"
# What `schema/edges.yaml` requires of a verb, where the source does not give it.
DEFAULTS: dict[str, Row] = {"SIGNALS_TO": {"sign": 0}}
DEFAULTS |= {verb: {"evidence": ["not_provided"]} for verb in ("INVOLVED_IN", "ENABLES", "LOCATED_IN")}

KEY = SourceOption(
    "key",
    "what to call this file's source, so that several of one format stand side by side",
    default="",
)


def label_for(curie: str, candidates: Sequence[str]) -> str | None:
    """First of the labels whose ids may look like ``curie``."""
    prefix = curie.partition(":")[0]
    return next((label for label in candidates if prefix in id_prefixes(label)), None)


@dataclass
class Statements:
    """Nodes and statements of one source while its files are read.

    Parameters
    ----------
    source
        Key of the source.
    """

    source: str
    labels_of: dict[str, list[str]] = field(default_factory=dict)
    _nodes: dict[str, list[Row]] = field(default_factory=dict)
    _edges: dict[tuple[str, str, str], list[Row]] = field(default_factory=dict)
    _bad_nodes: list[Reject] = field(default_factory=list)
    _bad_edges: list[Reject] = field(default_factory=list)

    def node(self, number: int, labels: Sequence[str], row: Row, kind: str) -> None:
        """Add a node of the first label that fits its id; ``kind`` is what the source calls it."""
        label = label_for(row["id"], labels)
        if label is None:
            reason = f"no id of {' or '.join(labels)}" if labels else f"type {kind!r} is not in the schema"
            self._bad_nodes.append(Reject(number, "id", row["id"], reason))
            return
        row[ROW] = number
        if label == "Gene":
            row.setdefault("symbol", row["name"])
        known = self.labels_of.setdefault(row["id"], [])
        if label not in known:
            known.append(label)
        self._nodes.setdefault(label, []).append(row)

    def edge(self, number: int, verb: str, row: Row, predicate: str, *, turned: bool = False) -> None:
        """Add a statement; ``turned`` where the source says it from object to subject.

        Of ends that have several labels, the first pair counts between which the verb may lead.
        """
        if turned:
            row["subject"], row["object"] = row["object"], row["subject"]
        for end in ("subject", "object"):
            if row[end] not in self.labels_of:
                self._bad_edges.append(Reject(number, end, row[end], "not among the nodes"))
                return
        pairs = list(product(self.labels_of[row["subject"]], self.labels_of[row["object"]]))
        fitting = next((pair for pair in pairs if allows(verb, *pair)), None)
        left, right = fitting or pairs[0]
        verb = verb if fitting else NEUTRAL
        given = {**DEFAULTS.get(verb, {}), **row} | ({"relation": predicate} if verb == NEUTRAL else {})
        given = {name: value for name, value in given.items() if name in edge_columns(verb)}
        self._edges.setdefault((left, verb, right), []).append({ROW: number, **given})

    def parsed(self) -> Parsed:
        """Tables of everything that was added; rejected rows have a table of their own."""
        return Parsed(tuple(self._node_tables()), tuple(self._edge_tables()))

    def _node_tables(self) -> Iterable[NodeTable]:
        for label, rows in sorted(self._nodes.items()):
            # Rows of one id meet in the load, which counts where their values differ; sorted, so that the order
            # in the file does not decide which one stays.
            ordered = sorted(rows, key=lambda row: (row["id"], repr(content(row))))
            data = arrow(ordered, ("id", "name"))
            yield NodeTable(self.source, label.lower(), label, data, len(rows), rows=rows_of(ordered))
        if bad := self._bad_nodes:
            yield node_table(self.source, "nodes not loaded", "Disease", [], read=len(bad), rejects=bad)

    def _edge_tables(self) -> Iterable[EdgeTable]:
        for ends, rows in sorted(self._edges.items()):
            name = "-".join(ends).lower()
            yield edge_table(self.source, name, ends, rows, read=len(rows), apart=["source", "relation"])
        if bad := self._bad_edges:
            ends = ("Gene", NEUTRAL, "Gene")
            yield edge_table(self.source, "statements not loaded", ends, [], read=len(bad), rejects=bad)
