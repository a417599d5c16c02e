"""The classes of ``CellTOSG_Loader`` over a store of ours: programs for it run with one changed import.

>>> from tosg_graph.celltosg import CellTOSGDataLoader
>>> dataset = CellTOSGDataLoader(
...     root="CellTOSG_dataset_v2",
...     conditions={"tissue_general": "brain", "disease": "Alzheimer's Disease"},
...     task="disease",
...     label_column="disease",
...     extract_mode="train",
...     stratified_balancing=True,
... )
>>> dataset.data["train"].shape, dataset.labels["train"].dtype

Where the results differ on purpose, docs/celltosg.md says how and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.celltosg_cohort import SIDES, column_of, encoded
from tosg_graph.celltosg_files import write_labels
from tosg_graph.celltosg_sides import INFERENCE
from tosg_graph.celltosg_subset import CellTOSGSubsetBuilder, refuse
from tosg_graph.celltosg_values import load_expression_by_metadata
from tosg_graph.errors import LoadError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["CellTOSGDataLoader", "CellTOSGSubsetBuilder", "load_expression_by_metadata"]


class CellTOSGDataLoader:
    """Values, labels and graph of a query, as attributes.

    Parameters
    ----------
    root, conditions, task, ...
        As of `CellTOSGSubsetBuilder`, its `view` and `extract`.
    label_column
        ``disease``, ``sex``, ``cell_type`` or a column: what ``labels`` are numbers of, in train mode.
    train_text, train_bio
        Whether texts and sequences are given as frames (``s_name``, ``s_desc``; ``s_bio``) in place of embeddings.

    Attributes
    ----------
    data
        Inference: a frame of raw counts. Train: ``{"train": x, "test": x}``, float32 ``(n, n_nodes)``.
    labels
        Train with ``label_column``: ``{"train": y, "test": y}``, int64 ``(n,)``, -1 for unknown. Else ``metadata``.
    metadata
        One row per row of ``data``.
    label_mapping
        Label -> number, or None.
    edge_index, internal_edge_index, ppi_edge_index
        ``(2, n)`` integers as in the folder; rows of ``s_name.csv``.
    x_name_emb, x_desc_emb, x_bio_emb
        ``(n_nodes, dim)``; None where the folder has none.
    report
        What was done and left out, as a dict; also ``report.json`` in ``output_dir``.
    order
        The nodes; ``order.gather(order.genes)`` says which gene each takes its value from.

    Raises
    ------
    TosgError
        If anything asked for cannot be, nothing is selected, or files of the folder do not fit each other.
    TypeError
        At an argument of another name.
    """

    def __init__(
        self,
        root: str | Path,
        conditions: Mapping[str, Any],
        shuffle: bool = False,
        stratified_balancing: bool = False,
        task: str | None = None,
        label_column: str | None = None,
        sample_ratio: float | None = None,
        sample_size: int | None = None,
        train_text: bool = False,
        train_bio: bool = False,
        extract_mode: str | None = None,
        random_state: int = 2025,
        correction_method: str | None = None,
        output_dir: str | Path | None = None,
        *,
        match_keys: Sequence[str] | None = None,
        cache_dir: str | Path | None = None,
        gene_index: str | Path | None = None,
        **unknown: Any,
    ) -> None:
        refuse(unknown, type(self))
        self.root, self.conditions, self.task, self.label_column = root, conditions, task, label_column
        self.extract_mode, self.shuffle, self.random_state = extract_mode, shuffle, random_state
        self.stratified_balancing, self.correction_method = stratified_balancing, correction_method
        self.sample_ratio, self.sample_size, self.output_dir = sample_ratio, sample_size, output_dir
        self.train_text, self.train_bio = train_text, train_bio
        self.query = CellTOSGSubsetBuilder(root, cache_dir=cache_dir, gene_index=gene_index)
        if label_column is not None:
            column_of(label_column, self.query.columns)
        self.order = self.query.order
        self.edge_index, self.internal_edge_index, self.ppi_edge_index = self.order.edges(Path(root)).values()
        self._read_texts(Path(root), train_text, train_bio)
        self.df_preview = self.query.view(conditions)
        found = self.query.extract(
            extract_mode=extract_mode,
            task=str(task),
            stratified_balancing=stratified_balancing,
            shuffle=shuffle,
            sample_ratio=sample_ratio,
            sample_size=sample_size,
            random_state=random_state,
            correction_method=correction_method,
            output_dir=output_dir,
            match_keys=match_keys,
        )
        self.report = self.query.report
        self.label_mapping: dict[str, int] | None = None
        self.data: Any
        self.metadata: Any
        self.labels: Any
        if extract_mode == INFERENCE:
            self.data, self.metadata = found
            self.labels = self.metadata
            return
        self.data = {side: x for side, (x, _) in zip(SIDES, found, strict=True)}
        self.metadata = {
            side: frame.assign(split=side) for side, (_, frame) in zip(SIDES, found, strict=True)
        }
        self.labels = dict(self.metadata)
        if label_column is not None:
            self._number_labels(label_column, output_dir)

    def _number_labels(self, label_column: str, output_dir: str | Path | None) -> None:
        column = column_of(label_column, self.query.columns)
        train, test = (self.metadata[side][column].tolist() for side in SIDES)
        mapping, *numbers = encoded(train, test, label_column)
        self.label_mapping = mapping
        self.labels = {side: np.array(own, np.int64) for side, own in zip(SIDES, numbers, strict=True)}
        if output_dir is not None:
            write_labels(Path(output_dir), self.metadata, self.labels, mapping, label_column)

    def _read_texts(self, root: Path, text: bool, bio: bool) -> None:
        """Set ``s_*`` or ``x_*_emb``; None where the folder has no such file."""
        for name, raw in (("name", text), ("desc", text), ("bio", bio)):
            if raw:
                setattr(self, f"s_{name}", self._rows_of(root / f"s_{name}.csv", _csv))
            else:
                setattr(self, f"x_{name}_emb", self._rows_of(root / f"x_{name}_emb.npy", _npy))

    def _rows_of(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """One row per node, or None."""
        if not path.is_file():
            return None
        found = read(path)
        if len(found) != self.order.num_nodes:
            raise LoadError(
                f"{path.name}: {len(found)} rows, s_name.csv has {self.order.num_nodes}; give the files of one release."
            )
        return found


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    found: pd.DataFrame = pd.read_csv(path)
    return found


def _npy(path: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LoadError(
            f"{path.name}: cannot be read as an array ({str(error)[:120]}); fetch it again."
        ) from error
    return found
