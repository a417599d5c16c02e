"""A bundle as PyTorch Geometric reads it: one topology, many cells, three equal modes.

Reads bundle files only: no graph, no store. Abundance is mapped from disk and made dense per batch.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tosg_graph import bundle, normalise
from tosg_graph.bundle_counts import BundleCounts
from tosg_graph.correction import from_tensors
from tosg_graph.counts_subset import CountsSubset
from tosg_graph.dense import Layers, dense
from tosg_graph.errors import BundleError
from tosg_graph.feed import Feed
from tosg_graph.feed_order import BLOCK_CELLS, POOL_CELLS, Order
from tosg_graph.gather import Gather

with warnings.catch_warnings():
    # PyG scripts some functions when imported, which newer torch calls deprecated.
    warnings.simplefilter("ignore")
    from torch_geometric.data import Batch, Data, HeteroData

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.correction import Correction
    from tosg_graph.raw_rows import RawRows
    from tosg_graph.store_counts import StoreCounts

MODES = ("shared", "block_diagonal", "data")
LAYERS = (*normalise.LAYERS, "corrected")

EdgeKey = tuple[str, str, str]


@dataclass(frozen=True)
class Cells:
    """Some cells on the shared topology.

    Parameters
    ----------
    x
        float32 ``(B, N, 1)``: abundance of each node in the chosen layer; 0 where a node has none.
    y
        int64 ``(B,)``: index into ``classes``.
    rows
        int64 ``(B,)``: row in the ``cells`` table of the dataset.
    """

    x: Tensor
    y: Tensor
    rows: Tensor

    @property
    def node_major(self) -> Tensor:
        """float32 ``(N, B, 1)``, contiguous: ``view(N, -1)`` is ready for one sparse product per layer."""
        return self.x.transpose(0, 1).contiguous()

    def to(self, device: torch.device | str) -> Cells:
        """Move all three to ``device``."""
        return Cells(self.x.to(device), self.y.to(device), self.rows.to(device))


class TosgDataset(Dataset[Any]):
    """Cells of one split of a bundle, on its topology.

    Parameters
    ----------
    folder
        The bundle.
    split
        ``train``, ``val`` or ``test``.
    mode
        What `batches` yields. ``shared``: `Cells` with ``x`` of shape ``(B, N, 1)``, for layers that take
        PyG's static graphs, with ``edge_index`` once on the dataset. ``block_diagonal``: one PyG ``Batch`` of
        B copies of the graph, whose index is built once per B. ``data``: a ``Batch`` of ordinary ``Data``.
    layer
        ``counts``: raw counts. ``cp10k``: counts per 10,000 of the cell's total. ``log1p``: natural
        logarithm of 1 + cp10k. ``corrected``: log1p after the correction that the bundle was exported with
        (``--correct``). All float32. With ``--level``, raw counts of transcripts and proteins are gathered from
        genes, and these are their layers.
    protein_layer
        What the nodes of proteins have, where the bundle was exported with ``--proteins``: ``counts``, or ``clr``, the
        centred log ratio per cell. The layers of genes are never made of proteins.
    verify
        Compare each file's sha256 with the manifest when it is first read.
    store
        The store, or its folder or address, that a bundle without abundance (``--no-abundance``) was exported from: the
        counts are read there, at the version that the bundle names.

    Raises
    ------
    BundleError
        If the bundle is damaged or of a newer format version, or the split, mode or layer is unknown.

    Attributes
    ----------
    manifest : dict
    nodes : pyarrow.Table
        One row per node; row numbers are node numbers.
    classes : list of str
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "train",
        mode: Literal["shared", "block_diagonal", "data"] = "shared",
        layer: Literal["counts", "cp10k", "log1p", "corrected"] = "counts",
        *,
        protein_layer: Literal["counts", "clr"] = "counts",
        verify: bool = True,
        store: AbundanceStore | str | Path | None = None,
    ) -> None:
        for name, value, allowed in (
            ("split", split, bundle.SPLITS),
            ("mode", mode, MODES),
            ("layer", layer, LAYERS),
            ("protein_layer", protein_layer, normalise.PROTEIN_LAYERS),
        ):
            if value not in allowed:
                raise BundleError(f"{name}={value!r} is unknown; choose {', '.join(allowed)}.")
        self.folder = Path(folder)
        self.split, self.mode = split, mode
        self.layer: str = layer
        self.protein_layer: str = protein_layer
        self._verify = verify
        self.manifest = bundle.read_manifest(self.folder)
        self.classes: list[str] = list(self.manifest["classes"])
        self.nodes = bundle.read_table(self._path(bundle.NODES))
        genes = bundle.read_table(self._path(bundle.GENES))
        self.gene_rows: NDArray[np.int64] = genes["node_row"].to_numpy()
        self.counts: BundleCounts | StoreCounts | CountsSubset
        self.counts = self._open_counts(store, genes["axis_column"].to_pylist())
        proteins = bundle.read_table(self._path(bundle.PROTEINS)) if self.counts.proteins else None
        self._protein_rows = proteins["node_row"].to_numpy() if proteins else np.empty(0, np.int64)
        self._topology = bundle.map_tensors(self._path(bundle.TOPOLOGY))
        self._check_sizes()
        self._gather = self._read_gather() if "gather" in self.manifest else None
        self._labels = self._read_labels()
        self._correction = self._read_correction() if layer == "corrected" else None
        self._blocks: dict[tuple[int, torch.device], Tensor] = {}

    # ----------------------------------------------------------------- the graph

    @property
    def num_classes(self) -> int:
        """Number of classes over all splits."""
        return len(self.classes)

    @property
    def num_nodes(self) -> int:
        """N, over all node types."""
        return len(self.nodes)

    @cached_property
    def node_types(self) -> list[str]:
        """Node types; those of type ``node_types[t]`` are rows ``offsets[t]`` to ``offsets[t + 1]``."""
        return sorted(self.manifest["nodes"])

    @cached_property
    def node_offsets(self) -> dict[str, tuple[int, int]]:
        """Type -> first row and end: adds a type's own numbers up to node numbers."""
        bounds = self._topology["node_offsets"].tolist()
        return {t: (bounds[i], bounds[i + 1]) for i, t in enumerate(self.node_types)}

    @cached_property
    def edge_types(self) -> list[EdgeKey]:
        """(source type, verb, target type), in the order in which `edge_index` joins them."""
        return [_edge_key(name) for name in sorted(self.manifest["edges"])]

    @cached_property
    def edge_index_dict(self) -> dict[EdgeKey, Tensor]:
        """Edge type -> int64 ``(2, E)`` of node numbers; row 0 is the source."""
        return {
            key: torch.from_numpy(np.array(self._topology[f"{bundle.edge_name(key)}.edge_index"]))
            for key in self.edge_types
        }

    @cached_property
    def edge_index(self) -> Tensor:
        """int64 ``(2, E)`` over all edge types, of node numbers."""
        return torch.cat([torch.empty(2, 0, dtype=torch.long), *self.edge_index_dict.values()], dim=1)

    @cached_property
    def edge_type(self) -> Tensor:
        """int64 ``(E,)``: place of each edge's type in `edge_types`."""
        sizes = torch.tensor([e.shape[1] for e in self.edge_index_dict.values()], dtype=torch.long)
        return torch.repeat_interleave(torch.arange(len(sizes)), sizes)

    def edge_attribute(self, key: EdgeKey, name: str) -> Tensor:
        """float32 ``(E,)`` of one edge type; NaN where the source states none."""
        tensor = f"{bundle.edge_name(key)}.{name}"
        if tensor not in self._topology:
            raise BundleError(
                f"{self.folder / bundle.TOPOLOGY} has no {tensor!r}: no edge of the type states it."
            )
        return torch.from_numpy(np.array(self._topology[tensor]))

    @cached_property
    def negated(self) -> Tensor:
        """bool ``(E,)``: whether the source says that the edge is not so, in the order of `edge_index`."""
        return torch.cat([torch.empty(0, dtype=torch.bool), *map(self._negated, self.edge_types)])

    def _negated(self, key: EdgeKey) -> Tensor:
        path, count = self._path(bundle.edge_file(key)), self.edge_index_dict[key].shape[1]
        if "negated" not in bundle.column_names(path):
            return torch.zeros(count, dtype=torch.bool)
        said = bundle.read_table(path, ["negated"])["negated"].cast("bool").fill_null(False).to_numpy()
        bundle.check_length(path, "edges", len(said), count)
        return torch.from_numpy(np.array(said))

    @cached_property
    def node_mask(self) -> Tensor:
        """bool ``(N,)``: whether the node has abundance."""
        return torch.from_numpy(np.array(self._topology["node_has_abundance"]))

    @cached_property
    def text(self) -> Tensor:
        """float32 ``(N, D)``: text embedding of each node; zeros where it has none, D is 0 where none has."""
        return torch.from_numpy(np.array(self._text["embedding"]))

    @cached_property
    def text_mask(self) -> Tensor:
        """bool ``(N,)``: whether the node has a text embedding."""
        return torch.from_numpy(np.array(self._text["mask"]))

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """Name -> float32 ``(N, D)``: what was exported with ``--features``; zeros where `feature_masks` is False."""
        return {name: torch.from_numpy(np.array(self._features[name])) for name in self._feature_names}

    @cached_property
    def feature_masks(self) -> dict[str, Tensor]:
        """Name -> bool ``(N,)``: whether the node has a value."""
        return {
            name: torch.from_numpy(np.array(self._features[f"{name}.mask"])) for name in self._feature_names
        }

    @property
    def _feature_names(self) -> list[str]:
        return sorted(self.manifest.get("features", {}))

    @cached_property
    def _features(self) -> dict[str, NDArray[Any]]:
        if not self._feature_names:
            return {}
        path = self._path(bundle.FEATURES)
        found = bundle.map_tensors(path)
        for name in self._feature_names:
            if not {name, f"{name}.mask"} <= set(found):
                raise BundleError(f"{path} lacks {name!r}. Export the bundle again.")
            bundle.check_length(path, f"rows of {name}", len(found[name]), self.num_nodes)
        return found

    @cached_property
    def _text(self) -> dict[str, NDArray[Any]]:
        found = bundle.map_tensors(self._path(bundle.TEXT))
        bundle.check_length(self.folder / bundle.TEXT, "rows", len(found["embedding"]), self.num_nodes)
        return found

    # ----------------------------------------------------------------- the cells

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, row: int) -> Data:
        """One cell as ``Data``: ``x`` ``(N, 1)``, ``edge_index``, ``y`` ``(1,)``, ``row`` ``(1,)``."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"cell {row} of {len(self)}")
        return self._data(self.take([row % len(self)]))

    @cached_property
    def cells(self) -> pa.Table:
        """One row per cell of the split, read when first asked for: batches need the labels only."""
        return self._cells_of_split()

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Cells:
        """Cells by row of ``cells``, in the order given, on the shared topology."""
        at = np.asarray(rows, np.int64)
        x = np.empty((len(at), self.num_nodes), np.float32)
        self.fill(self.counts.take(at), at, x)
        return self.cells_of(torch.from_numpy(x).unsqueeze(-1), at)

    def only(self, rows: Sequence[int] | NDArray[np.int64]) -> TosgDataset:
        """Return a dataset of some of the cells, in the order given, as if the split had no others."""
        at = np.asarray(rows, np.int64)
        if len(at) and not 0 <= at.min() <= at.max() < len(self):
            raise IndexError(f"cells {at.min()} to {at.max()} of {len(self)}")
        found = copy.copy(self)
        found.counts = CountsSubset(self.counts, at)
        found._labels = self._labels[at]
        found.__dict__["cells"] = self.cells.take(at)
        if self._correction:
            found._correction = (self._correction[0], self._correction[1][at])
        return found

    def cells_of(self, x: Tensor, rows: NDArray[np.int64]) -> Cells:
        """Abundance ``(B, N, 1)`` with the labels of its cells, on the device of ``x``."""
        return Cells(x, self._labels[rows].to(x.device), torch.from_numpy(rows).to(x.device))

    def fill(self, rows: RawRows, at: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Write the chosen layers of raw counts of the cells ``at`` into ``out``, float32 ``(B, N)``."""
        dense(rows, self.layers, self.feature_rows, out)
        if self._correction:
            correction, batches = self._correction
            out[:, self.gene_rows] = correction.corrected(out[:, self.gene_rows], batches[at])

    @property
    def layers(self) -> Layers:
        """What is made of counts: of the genes, which are so many, and of the proteins."""
        layer = normalise.LOG1P if self._correction else self.layer
        return Layers(len(self.gene_rows) + self.counts.unpicked, layer, self.protein_layer, self._gather)

    @cached_property
    def feature_rows(self) -> NDArray[np.int64]:
        """int64: node of each gene, then of each protein that has counts; -1 where it has none."""
        return (
            self._gather.feature_rows
            if self._gather
            else np.concatenate([self.gene_rows, self._protein_rows])
        )

    def batches(self, batch_size: int, shuffle: bool = False, seed: int = 0) -> Iterator[Any]:
        """Yield all cells, ``batch_size`` at a time; the last batch may be smaller.

        Parameters
        ----------
        shuffle
            Order by a permutation made from ``seed``; otherwise the order of ``cells``, which the export
            has shuffled once.
        """
        if batch_size < 1:
            raise BundleError(f"batch_size={batch_size} is below 1.")
        order = np.arange(len(self))
        if shuffle:
            order = np.random.default_rng(seed).permutation(order)
        for start in range(0, len(order), batch_size):
            yield self.batch(self.take(order[start : start + batch_size]))

    def feed(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        uneven: Literal["drop", "repeat"] | None = None,
        drop_last: bool = False,
        device: torch.device | str | None = None,
        pool_cells: int = POOL_CELLS,
        block_cells: int = BLOCK_CELLS,
        ahead: int = 2,
        workers: int = 0,
        reuse: bool = False,
    ) -> Feed:
        """Return batches for training: fast, in parts on several ranks, to be gone on with after a stop.

        Parameters
        ----------
        batch_size
            Cells per batch.
        shuffle
            Permute the cells in blocks and pools, anew in each epoch; otherwise the order of ``cells``.
        seed
            Decides the order, together with the epoch.
        rank, world_size
            Which of how many processes this one is; as ``torch.distributed`` says where it is initialised, else 0
            of 1. Ranks read different cells, and the same number of batches.
        uneven
            What becomes of cells that cannot be dealt out equally: ``drop`` (when shuffled; others in each epoch) or
            ``repeat`` (else; `Cells.rows` tells which came twice).
        drop_last
            Leave out a last batch that is smaller.
        device
            Where batches are made dense. The compressed rows travel there, from pinned memory.
        pool_cells, block_cells
            Cells that are shuffled with one another, and that are read together.
        ahead
            Batches that a thread prepares while others are in use.
        workers
            Processes that read pools; 0: the thread does. The batches are the same.
        reuse
            Use the memory of ``x`` again when the next batch is asked for: faster, and wrong for who keeps batches.

        Raises
        ------
        FeedError
            If an argument is out of bounds, or the device is not there.
        """
        here, processes = _ranks()
        order = Order(
            batch_size,
            shuffle=shuffle,
            seed=seed,
            rank=here if rank is None else rank,
            world_size=processes if world_size is None else world_size,
            uneven=uneven or ("drop" if shuffle else "repeat"),
            drop_last=drop_last,
            pool_cells=pool_cells,
            block_cells=block_cells,
        )
        return Feed(self, order, device=device, ahead=ahead, workers=workers, reuse=reuse)

    def iter_cells(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Yield ``(x, cell)`` one at a time: float32 ``(N, 1)`` and the cell's row of ``cells`` as a dict."""
        step = 64
        for start in range(0, len(self), step):
            rows = range(start, min(start + step, len(self)))
            dense = self.take(list(rows)).x
            described = self.cells.slice(start, len(rows)).to_pylist()
            yield from zip(dense, described, strict=True)

    def hetero(self, row: int) -> HeteroData:
        """One cell as ``HeteroData``: per node type ``x``, ``mask`` and ``node_row`` (the node numbers)."""
        cells, data = self.take([row]), HeteroData()
        for type_, (start, end) in self.node_offsets.items():
            data[type_].x = cells.x[0, start:end]
            data[type_].mask = self.node_mask[start:end]
            data[type_].node_row = torch.arange(start, end)
        for key, edges in self.edge_index_dict.items():
            first = torch.tensor([[self.node_offsets[key[0]][0]], [self.node_offsets[key[2]][0]]])
            data[key].edge_index = edges - first
        data.y = cells.y
        return data

    # ----------------------------------------------------------------- inside

    def batch(self, cells: Cells) -> Any:
        """Return cells as the mode has them; see `TosgDataset`."""
        if self.mode == "shared":
            return cells
        if self.mode == "block_diagonal":
            return self._block_diagonal(cells)
        singles = [
            Cells(cells.x[i : i + 1], cells.y[i : i + 1], cells.rows[i : i + 1]) for i in range(len(cells.y))
        ]
        return Batch.from_data_list([self._data(single) for single in singles])

    def _data(self, cell: Cells) -> Data:
        return Data(x=cell.x[0], edge_index=self._edges_on(cell.x.device), y=cell.y, row=cell.rows)

    def _edges_on(self, device: torch.device, size: int = 1) -> Tensor:
        """Edges of ``size`` copies of the graph, made and moved once."""
        if (size, device) not in self._blocks:
            offsets = (torch.arange(size) * self.num_nodes).view(1, -1, 1)
            edges = (self.edge_index.unsqueeze(1) + offsets).reshape(2, -1)  # (2, size * E)
            self._blocks[size, device] = edges.to(device)
        return self._blocks[size, device]

    def _block_diagonal(self, cells: Cells) -> Batch:
        """As ``Batch.from_data_list`` of `_data`, without collating the edges again."""
        size, nodes, device = len(cells.y), self.num_nodes, cells.x.device
        return Batch(
            x=cells.x.reshape(size * nodes, -1),
            edge_index=self._edges_on(device, size),
            y=cells.y,
            row=cells.rows,
            batch=torch.arange(size, device=device).repeat_interleave(nodes),
            ptr=torch.arange(size + 1, device=device) * nodes,
        )

    def _read_labels(self) -> Tensor:
        labels = self._cells_of_split(["label_index"])["label_index"]
        return torch.from_numpy(labels.to_numpy().astype(np.int64))

    def measured(self, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """bool ``(B, N)``: whether the node was measured in the cell; a zero of another one is unknown, not zero.

        Raises
        ------
        BundleError
            If the bundle does not say what was measured.
        """
        said = self.manifest.get("measured")
        if said is None:
            raise BundleError(f"{self.folder} does not say what was measured. Export the bundle again.")
        masks, at = bundle.map_tensors(self._path(bundle.MEASURED)), np.asarray(rows, np.int64)
        place = {name: number for number, name in enumerate(said["datasets"])}
        of = np.array([place[name] for name in self.cells["dataset"].take(at).to_pylist()], np.int64)
        found = np.zeros((len(at), self.num_nodes), np.bool_)
        found[:, self.gene_rows] = masks["genes"][of]
        if self._gather:
            genes = [masks["genes"], *([masks["unpicked_genes"]] if self.counts.unpicked else [])]
            found[:, self._gather.rows] = self._gather.known(np.concatenate(genes, axis=1))[of]
        if len(self._protein_rows):
            has = self.cells["n_protein_counts"].is_valid().to_numpy(zero_copy_only=False)[at]
            found[:, self._protein_rows] = masks["proteins"][of] & has[:, None]
        return torch.from_numpy(found)

    def _read_correction(self) -> tuple[Correction, NDArray[np.int64]]:
        """Read the correction, and each cell's row in it; -1 where the cell's batch was not fitted."""
        said = self.manifest.get("correction")
        if said is None:
            raise BundleError(
                f"{self.folder} has no layer 'corrected': it was exported without --correct. Choose "
                f"{', '.join(normalise.LAYERS)}, or export it again."
            )
        path = self._path(bundle.CORRECTION)
        found = from_tensors(said, bundle.map_tensors(path))
        bundle.check_length(path, "genes", len(found.uncorrected), len(self.gene_rows))
        cells = self._cells_of_split([said["batch"]])
        return found, found.batch_index(cells[said["batch"]].to_pylist(), said["unseen"])

    def _open_counts(
        self, store: AbundanceStore | str | Path | None, columns: Sequence[int]
    ) -> BundleCounts | StoreCounts:
        if not self.manifest.get("abundance_in_store", False):
            return BundleCounts(self.folder, self.manifest, self.split, verified=self._verify)
        if store is None:
            raise BundleError(
                f"{self.folder} holds no abundance: it was exported with --no-abundance. Give the store too: "
                "TosgDataset(folder, store=...)."
            )
        from tosg_graph.abundance_store import open_store
        from tosg_graph.store_counts import StoreCounts

        cells = bundle.read_table(self._path(bundle.CELLS), ["split", "cell_id", "n_counts"])
        return StoreCounts(open_store(store), self.manifest, _of_split(cells, self.split), columns)

    def _read_gather(self) -> Gather:
        path, genes = self._path(bundle.GATHER), len(self.gene_rows) + self.counts.unpicked
        tensors = bundle.map_tensors(path)
        if missing := {"gene", "node_row", "weight", "largest"} - set(tensors):
            raise BundleError(f"{path} lacks {min(missing)!r}. Export the bundle again.")
        expected = sum(level["links"] for level in self.manifest["gather"]["levels"].values())
        for name, values in tensors.items():
            bundle.check_length(path, f"links in {name}", len(values), expected)
        rows = np.concatenate([self.gene_rows, np.full(self.counts.unpicked, -1), self._protein_rows])
        return Gather(rows, genes, tensors)

    def _path(self, name: str) -> Path:
        """Path of a file of the bundle, checked against the manifest unless that is switched off."""
        return bundle.checked_path(self.folder, self.manifest, name, verified=self._verify)

    def _cells_of_split(self, columns: Sequence[str] | None = None) -> pa.Table:
        read = None if columns is None else ["split", *columns]
        cells = bundle.read_table(self._path(bundle.CELLS), read)
        found = _of_split(cells, self.split)
        bundle.check_length(self.folder / bundle.CELLS, f"{self.split} cells", len(found), len(self.counts))
        return found

    def _check_sizes(self) -> None:
        nodes, path = sum(self.manifest["nodes"].values()), self.folder / bundle.TOPOLOGY
        bundle.check_length(self.folder / bundle.NODES, "nodes", len(self.nodes), nodes)
        wanted = [f"{name}.edge_index" for name in self.manifest["edges"]]
        for name in ("node_offsets", "node_has_abundance", *wanted):
            if name not in self._topology:
                raise BundleError(f"{path} lacks {name!r}. Export the bundle again.")
        for name, count in self.manifest["edges"].items():
            bundle.check_length(path, f"{name} edges", self._topology[f"{name}.edge_index"].shape[1], count)


def _of_split(cells: pa.Table, split: str) -> pa.Table:
    import pyarrow.compute as pc

    return cells.filter(pc.equal(cells["split"], split)).combine_chunks()


def _ranks() -> tuple[int, int]:
    """Rank and number of processes, as torch.distributed says."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _edge_key(name: str) -> EdgeKey:
    source, verb, target = name.split("__")
    return source, verb, target
