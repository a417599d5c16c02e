"""Text for language models, aligned by row with the tensors: of each node its text, of each cell a signaling sentence.

A sentence is made of the cell's counts and of the picked subgraph, and of nothing else: the genes with the highest
counts, what the subgraph says among them, and the pathways, processes, functions and locations that they share. What is
known of the cell (its label, disease, donor ...) is no input. A cell's genes are ranked by their raw count: within one
cell that is the order of log1p of counts per 10,000, without rounding; genes of equal counts stand in the order of ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.bundle import SPLITS, TEXTS
from tosg_graph.bundle_content import EdgeKey
from tosg_graph.bundle_counts import open_shard
from tosg_graph.errors import ExportError
from tosg_graph.gene_relations import PHRASES, Owners, Relations, Terms, first_of_rows
from tosg_graph.resources import schema
from tosg_graph.text import clean

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Ints = NDArray[np.int64]

MOST_GENES = 500
FEWEST_CHARS = 200
PAIRS = 1_000_000  # pairs of genes that are looked up at once: bounds memory
NODES_AT_ONCE = 10_000
SHORTEST_VALUE = 3  # a donor called "1" is not looked for in names

SHARED = {
    "PARTICIPATES_IN": "Pathways",
    "INVOLVED_IN": "Processes",
    "ENABLES": "Functions",
    "LOCATED_IN": "Locations",
}


@dataclass(frozen=True)
class TextPlan:
    """How long a sentence may be.

    Parameters
    ----------
    genes
        At most so many genes, those with the highest counts; 1 to 500.
    relations
        At most so many pairs of them.
    terms
        At most so many pathways, and as many processes, functions and locations.
    chars
        At most so many characters, the question after it not counted; 200 at least. What does not fit is left out.

    Raises
    ------
    ExportError
        If a number is out of bounds.
    """

    genes: int = 50
    relations: int = 20
    terms: int = 10
    chars: int = 2_000

    def __post_init__(self) -> None:
        if not 1 <= self.genes <= MOST_GENES:
            raise ExportError(f"A sentence of {self.genes:,} genes is none; choose 1 to {MOST_GENES}.")
        if self.chars < FEWEST_CHARS:
            raise ExportError(f"A sentence of {self.chars:,} characters is too short; allow {FEWEST_CHARS}.")
        for name in ("relations", "terms"):
            if getattr(self, name) < 0:
                raise ExportError(f"{name}={getattr(self, name)} is below 0.")


@dataclass(frozen=True)
class Written:
    """The parts of a bundle that are there before its texts.

    Parameters
    ----------
    nodes, genes, cells
        As in the bundle.
    edges
        Edge type -> table of edges, as in the bundle.
    shards
        The manifest's entry.
    label
        Column that the label is of.
    """

    nodes: pa.Table
    genes: pa.Table
    edges: Mapping[EdgeKey, pa.Table]
    cells: pa.Table
    shards: Mapping[str, Sequence[dict[str, Any]]]
    label: str


def write_texts(folder: Path, plan: TextPlan, written: Written) -> dict[str, Any]:
    """Write ``text/nodes.jsonl`` and ``text/cells-<split>.jsonl`` beside the tensors; return the manifest's entry.

    Shards are read one at a time. The same bundle gives the same bytes.
    """
    (folder / TEXTS).mkdir()
    bare = _write_lines(folder / TEXTS / "nodes.jsonl", _node_lines(written.nodes), "text")
    sentences = Sentences(plan, written)
    for split in SPLITS:
        _write_lines(folder / TEXTS / f"cells-{split}.jsonl", _cell_lines(folder, split, written, sentences))
    return {
        **asdict(plan),
        "nodes_without_text": bare,
        "names_left_out": sentences.left_out,
    }


def _write_lines(path: Path, lines: Iterable[dict[str, Any]], counted: str | None = None) -> int:
    """Write JSON Lines; return in how many the field ``counted`` is null."""
    missing = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            missing += counted is not None and line[counted] is None
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    return missing


def _node_lines(nodes: pa.Table) -> Iterator[dict[str, Any]]:
    names = ["id", "type", "name", "text"]
    row = 0
    for batch in nodes.select([n for n in names if n in nodes.column_names]).to_batches(NODES_AT_ONCE):
        for node in batch.to_pylist():
            yield {"row": row, **{name: node.get(name) for name in names}}
            row += 1


def _cell_lines(folder: Path, split: str, written: Written, sentences: Sentences) -> Iterator[dict[str, Any]]:
    question = f"\nQuestion: what is the {written.label.replace('_', ' ')} of this cell?\nAnswer:"
    described = written.cells.select(["cell_id", "label"])
    row = 0
    for shard in written.shards[split]:
        cells = described.slice(shard["first_row"], shard["cells"]).to_pylist()
        _, counts = open_shard(folder / shard["file"], shard, len(written.genes))
        for cell, sentence in zip(cells, sentences.of(counts), strict=True):
            prompt = {"prompt": sentence + question, "completion": f" {cell['label']}"}
            yield {"row": row, "cell_id": cell["cell_id"], "label": cell["label"], **prompt}
            row += 1


# --------------------------------------------------------------------------- sentences


class Sentences:
    """Signaling sentences of cells on one subgraph.

    Parameters
    ----------
    plan
        How long they may be.
    written
        The subgraph and its genes; the cells say which names no sentence may hold.

    Attributes
    ----------
    left_out : int
        Pathways and so on that no sentence names, for their names hold a class of the label, or a disease, organ, cell
        type ... that some cell has. They are the same for all cells, so that what is missing tells nothing either.
    """

    def __init__(self, plan: TextPlan, written: Written) -> None:
        self.plan = plan
        self._names = [
            clean(name) or id_
            for name, id_ in zip(*(written.nodes[c].to_pylist() for c in ("name", "id")), strict=True)
        ]
        self._gene_names = [self._names[row] for row in written.genes["node_row"].to_pylist()]
        owners = Owners.of(written.genes["node_row"].to_numpy(), len(written.nodes), written.edges)
        self._relations = Relations.of(written.edges, owners)
        told = _names_of_cells(written.cells, written.label)
        self.left_out = 0
        self._kinds: dict[str, Terms] = {}
        for verb, title in SHARED.items():
            terms, hidden = Terms.of(
                verb, written.edges, owners, lambda row: not holds(self._names[row], told)
            )
            self._kinds[title] = terms
            self.left_out += hidden

    def of(self, counts: csr_array[Any, Any]) -> Iterator[str]:
        """Yield the sentence of each row of raw counts, int32 ``(cells, genes)``."""
        step = max(1, PAIRS // self.plan.genes**2)
        for start in range(0, counts.shape[0], step):
            top = top_genes(counts[start : start + step], self.plan.genes)  # (cells, K)
            relations = self._relations.among(top, self.plan.relations)
            shared = {title: kind.shared(top, self.plan.terms) for title, kind in self._kinds.items()}
            for at, genes in enumerate(top):
                parts = {"Relations": [self._relation(genes, *found) for found in relations[at]]}
                for title, of_kind in shared.items():
                    parts[title] = [self._term(genes, term, held) for term, held in of_kind[at]]
                yield self._sentence([self._gene_names[g] for g in genes if g >= 0], parts)

    def _sentence(self, genes: Sequence[str], parts: Mapping[str, Sequence[str]]) -> str:
        lines = [_line("Genes by abundance", genes, ", ", self.plan.chars) or "Genes by abundance: none."]
        left = self.plan.chars - len(lines[0])
        for title, items in parts.items():
            line = _line(title, items, "; ", left - len("\n"))
            if line:
                lines.append(line)
                left -= len(line) + len("\n")
        return "\n".join(lines)

    def _relation(self, genes: Ints, i: int, j: int, bits: int) -> str:
        if bits & 0b011:
            bits &= ~0b100
        said = [words for bit, (_, _, words) in enumerate(PHRASES) if bits >> bit & 1]
        return f"{self._gene_names[genes[i]]} {' and '.join(said)} {self._gene_names[genes[j]]}"

    def _term(self, genes: Ints, term: int, held: Sequence[int]) -> str:
        return f"{self._names[term]} ({', '.join(self._gene_names[genes[k]] for k in held)})"


def top_genes(counts: csr_array[Any, Any], most: int) -> Ints:
    """Genes with the highest counts in each cell, highest first, equal ones in the order of their columns.

    Returns
    -------
    int64, shape ``(cells, most)``; -1 where a cell has fewer genes with a count.
    """
    cells = counts.shape[0]
    row = np.repeat(np.arange(cells), np.diff(counts.indptr))
    order = first_of_rows(row, (counts.indices, -counts.data.astype(np.int64)), cells, most)
    row, place = row[order], np.arange(len(order))
    place -= np.searchsorted(row, row)
    found = np.full((cells, most), -1, np.int64)
    found[row, place] = counts.indices[order]
    return found


def _line(title: str, items: Sequence[str], between: str, chars: int) -> str:
    """``Title: a, b.`` with the first items that fit; empty where none does."""
    length, fitting = len(f"{title}: ."), 0
    for item in items:
        length += len(item) + (len(between) if fitting else 0)
        if length > chars:
            break
        fitting += 1
    return f"{title}: {between.join(items[:fitting])}." if fitting else ""


# --------------------------------------------------------------------------- what no sentence may hold


def _names_of_cells(cells: pa.Table, label: str) -> frozenset[tuple[str, ...]]:
    """Words of every class, and of every value of the core columns that describe cells, such as disease and donor."""
    import pyarrow as pa
    import pyarrow.compute as pc

    core = set(schema("cells")["columns"]) - {"cell_id", "barcode"}
    found = {_words(name) for name in pc.unique(cells["label"]).to_pylist()}
    for column in cells.column_names:
        values = cells[column]
        if column.removesuffix("_raw") not in {*core, label, f"obs_{label}"}:
            continue
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            distinct = (v for v in pc.unique(values).to_pylist() if v and len(v) >= SHORTEST_VALUE)
            found |= {_words(value) for value in distinct}
    return frozenset(found - {()})


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


def holds(name: str, told: frozenset[tuple[str, ...]]) -> bool:
    """Whether a run of the words of ``name`` is one of ``told``."""
    words = _words(name)
    longest = max(map(len, told), default=0)
    return any(
        words[start:end] in told
        for start in range(len(words))
        for end in range(start + 1, min(len(words), start + longest) + 1)
    )
