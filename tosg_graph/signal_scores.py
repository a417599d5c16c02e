"""Scores of nodes and edges per donor and arm, out of one pass over the cells of a bundle.

No cell is kept: a batch is scored and added to the sums of its donors, so memory depends on donors, nodes and edges.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.bundle import SPLITS
from tosg_graph.bundle_content import BundleContent
from tosg_graph.donor_tests import Design
from tosg_graph.donors import studies
from tosg_graph.errors import SignalError
from tosg_graph.gene_relations import Owners, stated
from tosg_graph.matching import is_unclassified
from tosg_graph.normalise import TARGET_SUM
from tosg_graph.progress import Progress, silent

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.bundle_content import EdgeKey
    from tosg_graph.dataset import TosgDataset
    from tosg_graph.raw_rows import RawRows

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

VERBS = ("SIGNALS_TO", "LIGAND_OF", "INTERACTS_WITH")  # along which a signal may pass
REST = "the other cells"  # the control arm where none is named
FEWEST_DONORS = 3  # of an arm
DENSE = 16_000_000  # values of a batch of cells: cells times nodes, or times edges
FEWEST_COUNTS = 10  # of a node, in as many donors as the smaller arm has (as edgeR's filterByExpr)
PRIOR_COUNT = 2.0  # added before a logarithm, as edgeR does


@dataclass(frozen=True)
class Contrast:
    """Two groups of cells, and whose they are.

    Parameters
    ----------
    by, case, control
        Column of the cells, and its values; without ``control`` all other known values.
    donor
        Column that says whose a cell is; within its dataset.
    within
        Column whose values are compared apart and then joined, as ``dataset``: only donors of one value are compared.
    min_cells
        Fewer cells of a donor in an arm are left out.
    where
        Column -> value that cells must have.
    """

    by: str
    case: str
    control: str | None = None
    donor: str = "donor"
    within: str | None = None
    min_cells: int = 10
    where: tuple[tuple[str, str], ...] = ()

    @property
    def arms(self) -> tuple[str, str]:
        """What the case and the control arm are called."""
        return self.case, self.control if self.control is not None else REST


@dataclass(frozen=True)
class Units:
    """Donors of each arm that are compared: one row of every score each.

    Parameters
    ----------
    table
        ``donor``, ``arm``, ``block``, ``cells``, ``n_counts``; sorted by block, donor, arm.
    row
        int64 ``(cells,)``: unit of each cell, -1 where it is in none.
    design
        Arms and blocks as tests take them.
    paired
        Whether a donor's two arms are compared with each other.
    left_out
        Why cells are in no unit -> how many.
    """

    table: pa.Table
    row: Ints
    design: Design
    paired: bool
    left_out: dict[str, int]


@dataclass(frozen=True)
class Scores:
    """What cells of each unit have on average.

    Parameters
    ----------
    units
        U of them.
    nodes
        int64 ``(F,)``: rows of the nodes that are tested.
    values
        float64 ``(U, F)``: log2 of the unit's counts per 10,000; of surface proteins, the centred log ratio.
    edges
        As `Edges.table`, those whose ends are tested.
    ends
        int64 ``(2, E)``: places in ``nodes`` of what the ends of an edge have.
    edge_values
        float64 ``(U, E)``: mean over the unit's cells of the geometric mean of both ends' log1p CP10k.
    fractions
        float64 ``(U, F)``: share of the unit's cells that have a count of the node; NaN where the score counts none.
    left_out
        Why nodes and edges are not tested -> how many.
    notes
        What a reader of the findings has to know of the score.
    network
        Which network the scores are of.
    """

    units: Units
    nodes: Ints
    values: Floats
    edges: pa.Table
    ends: Ints
    edge_values: Floats
    fractions: Floats
    left_out: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)


# --------------------------------------------------------------------------- units


def units(cells: pa.Table, contrast: Contrast, apart: Mapping[str, NDArray[np.bool_]] | None = None) -> Units:
    """Return which donors are compared.

    A donor that has cells in both arms is compared with itself, as a block of its own; donors with one arm are then
    left out. Where fewer than three have both, those are left out instead.

    Parameters
    ----------
    apart
        Why cells are left out before all else -> bool ``(cells,)``, which.

    Raises
    ------
    SignalError
        If a column or value is not there, or an arm has fewer than three donors.
    """
    import pyarrow as pa

    arm, left = _arms(cells, contrast)
    for reason, mask in (apart or {}).items():
        left[reason] += int((mask & (arm >= 0)).sum())
        arm[mask] = -1
    donors = texts(cells, contrast.donor)
    within = texts(cells, contrast.within) if contrast.within else [""] * len(cells)
    places = studies(cells) if "dataset" in cells.column_names else [""] * len(cells)
    keys: list[tuple[str, str, int] | None] = []
    for side, donor, study, block in zip(arm.tolist(), donors, places, within, strict=True):
        if side < 0:
            keys.append(None)
        elif is_unclassified(donor) or donor is None:
            left["of no known donor"] += 1
            keys.append(None)
        elif block is None or (contrast.within and is_unclassified(block)):
            left[f"no known {contrast.within}"] += 1
            keys.append(None)
        else:
            keys.append((block, f"{study}\x1f{donor}", side))
    sizes = Counter(key for key in keys if key)
    kept, paired = _kept(sizes, contrast, left)
    rows = {key: number for number, key in enumerate(sorted(kept))}
    row = np.array([rows.get(key, -1) if key else -1 for key in keys], np.int64)
    chosen = sorted(kept)
    totals = np.bincount(row[row >= 0], cells["n_counts"].to_numpy()[row >= 0], minlength=len(chosen))
    names = [(block, who) if paired else (block, "") for block, who, _ in chosen]
    order = {name: number for number, name in enumerate(sorted(set(names)))}
    design = Design(
        np.array([side == 0 for _, _, side in chosen]), np.array([order[n] for n in names], np.int64)
    )
    table = pa.table(
        {
            "dataset": [who.split("\x1f")[0] for _, who, _ in chosen],
            "donor": [who.split("\x1f")[1] for _, who, _ in chosen],
            "arm": [contrast.arms[side] for _, _, side in chosen],
            "within": [block or None for block, _, _ in chosen],
            "cells": pa.array([sizes[key] for key in chosen], pa.int64()),
            "n_counts": pa.array(totals.astype(np.int64)),
        }
    )
    return Units(table, row, design, paired, {k: n for k, n in left.items() if n})


def _arms(cells: pa.Table, contrast: Contrast) -> tuple[Ints, Counter[str]]:
    """0 for cases, 1 for controls, -1 for neither."""
    values = texts(cells, contrast.by)
    for value in (contrast.case, contrast.control):
        check_value(cells, contrast.by, value)
    if contrast.case == contrast.control:
        raise SignalError(f"Case and control are both {contrast.case!r}. Choose two values of {contrast.by}.")
    left: Counter[str] = Counter()
    arm = np.full(len(cells), -1, np.int64)
    held = _held(cells, contrast)
    for row, value in enumerate(values):
        if not held[row]:
            left["not where it was asked for"] += 1
        elif value == contrast.case:
            arm[row] = 0
        elif value == contrast.control or (contrast.control is None and not is_unclassified(value)):
            arm[row] = 1
        else:
            left[f"with another value of {contrast.by}, or none"] += 1
    return arm, left


def _held(cells: pa.Table, contrast: Contrast) -> NDArray[np.bool_]:
    found = np.ones(len(cells), np.bool_)
    for column, value in contrast.where:
        found &= np.array([v == value for v in texts(cells, column)], np.bool_)
    return found


def check_value(cells: pa.Table, column: str, value: str | None) -> None:
    """Raise `SignalError` where no cell has a value that was asked for; the nearest is named."""
    counted = Counter(v for v in texts(cells, column) if v is not None)
    if value is not None and value not in counted:
        near = difflib.get_close_matches(value, list(counted), n=1, cutoff=0.5)
        there = f"Did you mean {near[0]!r}?" if near else f"It has {_listed(counted)}."
        raise SignalError(f"No cell of the bundle has {column} = {value!r}. {there}")


def texts(cells: pa.Table, column: str) -> list[str | None]:
    """Return a column of the cells as text.

    Raises
    ------
    SignalError
        If there is none of that name; the nearest is named.
    """
    import pyarrow as pa

    if column not in cells.column_names:
        near = difflib.get_close_matches(column, cells.column_names, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(cells.column_names)}."
        raise SignalError(f"The cells of the bundle have no column {column!r}. {hint}")
    found: list[str | None] = cells[column].cast(pa.string()).to_pylist()
    return found


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{value!r}" for value, _ in counted.most_common(5)) or "no value there"


def _kept(
    sizes: Counter[tuple[str, str, int]], contrast: Contrast, left: Counter[str]
) -> tuple[set[tuple[str, str, int]], bool]:
    """Units that are compared, and whether they are pairs of arms of a donor."""
    small = {key for key, size in sizes.items() if size < contrast.min_cells}
    _leave(left, f"of donors with fewer than {contrast.min_cells} cells in an arm", small, sizes)
    kept = set(sizes) - small
    both = {key for key in kept if (*key[:2], 1 - key[2]) in kept}
    single = kept - both
    paired = len(both) >= 2 * FEWEST_DONORS
    if paired:
        _leave(left, "of donors with one arm, where others have both", single, sizes)
        kept = both
    else:
        _leave(left, "of donors with both arms, where most have one", both, sizes)
        sides = Counter((block, side) for block, _, side in single)
        kept = {key for key in single if sides[key[0], 1 - key[2]]}
        lone = f"of a {contrast.within} with one arm" if contrast.within else "with none in the other arm"
        _leave(left, lone, single - kept, sizes)
    for side, name in enumerate(contrast.arms):
        donors = sum(key[2] == side for key in kept)
        if donors < FEWEST_DONORS:
            raise SignalError(
                f"{contrast.by} = {name!r} has {donors} donors of {contrast.min_cells} cells or more, and "
                f"{FEWEST_DONORS} are the fewest that can be compared{_why(left)}. Export more donors, name another "
                "column with --donor, or lower --min-cells."
            )
    return kept, paired


def _leave(
    left: Counter[str],
    reason: str,
    keys: set[tuple[str, str, int]],
    sizes: Counter[tuple[str, str, int]],
) -> None:
    if keys:
        left[reason] += sum(sizes[key] for key in keys)


def _why(left: Counter[str]) -> str:
    said = "; ".join(f"{count:,} cells {reason}" for reason, count in left.items() if count)
    return f" (left out: {said})" if said else ""


# --------------------------------------------------------------------------- activity


def activity(
    folder: str | Path, contrast: Contrast, *, store: Any = None, progress: Progress = silent
) -> Scores:
    """Score nodes and edges by the abundance of the bundle's cells, of all its splits.

    Parameters
    ----------
    store
        Where the counts are of a bundle without abundance.

    Raises
    ------
    SignalError
        If the contrast does not fit the cells, or nothing is measured in them.
    BundleError
        If the bundle is damaged.
    """
    from tosg_graph.dataset import TosgDataset

    content = BundleContent.open(folder)
    found = units(content.cells, contrast)
    sums: Sums | None = None
    start = done = 0
    used = int((found.row >= 0).sum())
    for split in SPLITS:
        size = content.manifest["splits"].get(split, 0)
        rows = found.row[start : start + size]
        start += size
        if not (rows >= 0).any():
            continue
        dataset = TosgDataset(content.folder, split, layer="counts", protein_layer="counts", store=store)
        sums = sums or Sums.of(content, dataset, len(found.table))
        sums.see(dataset, np.flatnonzero(rows >= 0))
        order = np.argsort(rows, kind="stable")
        for at in _batches(order[np.searchsorted(rows[order], 0) :], dataset.num_nodes):
            sums.add(dataset, at, rows[at])
            done += len(at)
            progress("Scoring cells", done, used)
    assert sums is not None  # `units` refuses a contrast without cells
    return sums.scores(found)


class Sums:
    """Running sums per unit over the nodes with abundance and the edges between them.

    Parameters
    ----------
    nodes
        int64 ``(F,)``: rows of the nodes with abundance.
    proteins
        bool ``(F,)``: which have counts of surface proteins.
    edges
        `signaling_edges` of these.
    units
        How many there are.
    """

    def __init__(self, nodes: Ints, proteins: NDArray[np.bool_], edges: Edges, units: int) -> None:
        self.nodes, self.edges = nodes, edges
        self._proteins = proteins
        self._known = np.ones(len(nodes), np.bool_)
        self._counts = np.zeros((units, len(nodes)))
        self._having = np.zeros((units, len(nodes)))
        self._together = np.zeros((units, len(edges.source)))
        self._cells = np.zeros(units)
        self._totals = np.zeros(units)

    @classmethod
    def of(cls, content: BundleContent, dataset: TosgDataset, units: int) -> Sums:
        """Return empty sums for a bundle."""
        nodes = np.flatnonzero(dataset.node_mask.numpy())
        counted = np.empty(0, np.int64)
        if dataset.counts.proteins:
            counted = bundle.read_table(content.path(bundle.PROTEINS), ["node_row"])["node_row"].to_numpy()
        edges = signaling_edges(dict(content.edges()), nodes, len(content.nodes))
        return cls(nodes, np.isin(nodes, counted), edges, units)

    def see(self, dataset: TosgDataset, at: Ints) -> None:
        """Take notice of what the data sets of some cells did not measure."""
        if "measured" not in dataset.manifest:
            return
        cells = dataset.cells.take(at)
        kinds = [(name, False) for name in cells["dataset"].to_pylist()]
        if "n_protein_counts" in cells.column_names:
            has = cells["n_protein_counts"].is_valid().to_pylist()
            kinds = [(name, flag) for (name, _), flag in zip(kinds, has, strict=True)]
        first = {kind: row for row, kind in reversed(list(zip(at.tolist(), kinds, strict=True)))}
        self._known &= dataset.measured(list(first.values())).numpy()[:, self.nodes].all(axis=0)

    def add(self, dataset: TosgDataset, at: Ints, rows: Ints) -> None:
        """Add cells ``at`` of the dataset, those of a unit one after another, to the units ``rows``."""
        raw = dataset.counts.take(at)
        x = np.empty((len(at), dataset.num_nodes), np.float32)
        dataset.fill(raw, at, x)
        counts = x[:, self.nodes]  # (B, F)
        levels = self._levels(counts, raw)
        for unit in np.unique(rows):
            here = slice(*np.searchsorted(rows, [unit, unit + 1]))
            self._counts[unit] += counts[here].sum(axis=0, dtype=np.float64)
            self._having[unit] += np.count_nonzero(counts[here], axis=0)
            self._totals[unit] += raw.totals[here].sum()
            self._cells[unit] += here.stop - here.start
            self._together[unit] += self.edges.sums(levels[here])

    def _levels(self, counts: NDArray[np.float32], raw: RawRows) -> NDArray[np.float32]:
        """Square roots of log1p CP10k, and of CLR; float32 ``(B, F)``."""
        found = np.log1p(counts * (TARGET_SUM / np.maximum(raw.totals, 1))[:, None].astype(np.float32))
        if raw.scales is not None and self._proteins.any():
            part = counts[:, self._proteins] / raw.scales[:, None]
            found[:, self._proteins] = np.log1p(np.nan_to_num(part)).astype(np.float32)
        return np.sqrt(found, out=found)

    def scores(self, found: Units) -> Scores:
        """Return what the sums say of each unit."""
        fewest = min(int(found.design.case.sum()), int((~found.design.case).sum()))
        enough = (self._counts >= FEWEST_COUNTS).sum(axis=0) >= fewest
        tested = enough & self._known
        left = {
            "nodes not measured in every dataset": int((~self._known).sum()),
            f"nodes with fewer than {FEWEST_COUNTS} counts in too many donors": int(
                (~enough & self._known).sum()
            ),
        }
        if not tested.any():
            raise SignalError(
                f"None of {len(tested):,} nodes with abundance has {FEWEST_COUNTS} counts in {fewest} donors. Compare "
                "groups of more cells, or export more genes."
            )
        place = np.cumsum(tested) - 1
        kept = tested[self.edges.source] & tested[self.edges.target]
        left["edges with an end that is not tested"] = int((~kept).sum())
        return Scores(
            units=found,
            nodes=self.nodes[tested],
            values=self._values()[:, tested],
            edges=self.edges.table.take(np.flatnonzero(kept)),
            ends=np.stack([place[self.edges.source[kept]], place[self.edges.target[kept]]]),
            edge_values=(self._together / self._cells[:, None])[:, kept],
            fractions=(self._having / self._cells[:, None])[:, tested],
            left_out={why: n for why, n in left.items() if n},
        )

    def _values(self) -> Floats:
        """Log2 of counts per 10,000 of the unit, (U, F); of proteins the log ratio to their geometric mean."""
        # edgeR's prior: larger where more was counted, so that a zero means the same in all units.
        prior = PRIOR_COUNT * self._totals / self._totals.mean()
        shares = (self._counts + prior[:, None]) / (self._totals + 2 * prior)[:, None]
        found: Floats = np.log2(shares * TARGET_SUM)
        if self._proteins.any():
            logs = np.log2(1 + self._counts[:, self._proteins])
            found[:, self._proteins] = logs - logs.mean(axis=1, keepdims=True)
        return found


def _batches(rows: Ints, width: int) -> Iterator[Ints]:
    step = max(1, DENSE // max(1, width))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


# --------------------------------------------------------------------------- edges


@dataclass(frozen=True)
class Edges:
    """Edges that may carry a signal, each pair of nodes once per verb and sign.

    Parameters
    ----------
    table
        ``source_row``, ``target_row``, ``verb``, ``sign``, and ``sources``, ``edge_keys`` and ``publications`` (lists).
    source, target
        int64 ``(E,)``: which of the measured nodes says what the ends have.
    """

    table: pa.Table
    source: Ints
    target: Ints

    def sums(self, roots: NDArray[np.float32]) -> Floats:
        """Sum over cells of the geometric means of both ends, out of their roots ``(B, F)``; float64 ``(E,)``."""
        found = np.empty(len(self.source))
        columns = np.ascontiguousarray(roots.T)
        step = max(1, DENSE // max(1, 2 * len(roots)))
        for start in range(0, len(found), step):
            part = slice(start, start + step)
            found[part] = np.einsum("eb,eb->e", columns[self.source[part]], columns[self.target[part]])
        return found


def signaling_edges(tables: Mapping[EdgeKey, pa.Table], measured: Ints, nodes: int) -> Edges:
    """Return the edges between nodes that are measured, or whose genes are.

    A protein that is not measured has what its gene has; where several genes encode it, it is in no edge. Statements of
    several sources on one pair are one edge; what a source states to be false is none.
    """
    import pyarrow as pa

    owners = Owners.of(measured, nodes, tables)
    alone = np.diff(owners.pointer) == 1
    stands = np.full(nodes, -1, np.int64)
    stands[alone] = owners.column[owners.pointer[:-1][alone]]
    joined: dict[tuple[int, int, str, int], list[tuple[str, int, list[str]]]] = {}
    for (_, verb, _), table in sorted(tables.items()):
        if verb not in VERBS:
            continue
        said = stated(table)
        source, target = (said[name].to_numpy() for name in ("source_row", "target_row"))
        sign = said["sign"].to_pylist() if "sign" in said.column_names else [0] * len(said)
        known = (stands[source] >= 0) & (stands[target] >= 0) & (stands[source] != stands[target])
        by, keys = said["source"].to_pylist(), said["edge_key"].to_pylist()
        read = "publications" in said.column_names
        papers = said["publications"].to_pylist() if read else [None] * len(said)
        for at in np.flatnonzero(known).tolist():
            key = (int(source[at]), int(target[at]), verb, int(sign[at] or 0))
            joined.setdefault(key, []).append((by[at], keys[at], papers[at] or []))
    names = sorted(joined)
    table = pa.table(
        {
            "source_row": pa.array([k[0] for k in names], pa.int64()),
            "target_row": pa.array([k[1] for k in names], pa.int64()),
            "verb": pa.array([k[2] for k in names], pa.string()),
            "sign": pa.array([k[3] for k in names], pa.int64()),
            "sources": pa.array([sorted({s for s, _, _ in joined[k]}) for k in names], pa.list_(pa.string())),
            "edge_keys": pa.array([sorted(e for _, e, _ in joined[k]) for k in names], pa.list_(pa.int64())),
            "publications": pa.array(
                [sorted({p for _, _, said in joined[k] for p in said}) for k in names], pa.list_(pa.string())
            ),
        }
    )
    ends = np.array([k[:2] for k in names], np.int64).reshape(-1, 2)
    return Edges(table, stands[ends[:, 0]], stands[ends[:, 1]])
