"""``CellTOSGSubsetBuilder``: metacells of an OmniCellTOSG folder by conditions, and their values."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.celltosg_cohort import (
    DISEASE,
    FIELD_ALIAS,
    SIDES,
    TASKS,
    Account,
    column_of,
    matching_rows,
    resolved,
)
from tosg_graph.celltosg_files import MATRIX, output_folder, query_sha256, write_gene_choice, write_report
from tosg_graph.celltosg_sides import TRAIN, Request, taken
from tosg_graph.celltosg_values import fit_corrections, gene_frame, mapped, node_matrix
from tosg_graph.errors import CohortError
from tosg_graph.progress import progress
from tosg_graph.tosg_folder import OWN, open_folder

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.celltosg_values import TissueCorrections
    from tosg_graph.tosg_folder import TosgFolder
    from tosg_graph.tosg_order import TosgOrder

_REPORTED = (
    "source",
    "suspension_type",
    "tissue_general",
    "tissue",
    "CMT_name",
    "disease_BMG_name",
    "development_stage_category",
    "sex_normalized",
)
_RENAMED = {
    "downstream_task": "task",
    "balanced": "stratified_balancing",
    "dataset_root": "root",
    "dataset_output_dir": "output_dir",
    "seed": "random_state",
}


class CellTOSGSubsetBuilder:
    """Metacells of an OmniCellTOSG folder by conditions on their metadata.

    Parameters
    ----------
    root
        The folder; read into a store the first time, and never written.
    cache_dir
        Where that store lies; by default in the cache of this user (``TOSG_CACHE``).
    gene_index
        ``bmg_gene_index.csv``, where it does not lie in the folder.

    Raises
    ------
    CellsError
        If the folder cannot be read.
    TypeError
        At an argument of another name.
    """

    FIELD_ALIAS = FIELD_ALIAS

    def __init__(
        self,
        root: str | Path,
        *,
        cache_dir: str | Path | None = None,
        gene_index: str | Path | None = None,
        **unknown: Any,
    ) -> None:
        refuse(unknown, type(self))
        self.root = root
        places = (Path(given) if given else None for given in (cache_dir, gene_index))
        with progress() as show:
            self.folder: TosgFolder = open_folder(Path(root), *places, progress=show)
        self._cells = self.folder.cells()
        self._chosen: NDArray[np.bool_] | None = None
        self.last_query_result: pd.DataFrame | None = None
        self.last_query_conditions_raw: Mapping[str, Any] | None = None
        self.last_query_conditions_resolved: dict[str, Any] | None = None
        self.report: dict[str, Any] = {}

    @property
    def columns(self) -> list[str]:
        """Columns of the metadata."""
        return [name for name in self._cells.column_names if name not in OWN]

    @cached_property
    def df_all(self) -> pd.DataFrame:
        """The whole metadata; made when it is asked for."""
        return self._frame(self._cells)

    @cached_property
    def order(self) -> TosgOrder:
        """The nodes of the graph, and which gene each takes its value from."""
        return self.folder.order()

    def available_conditions(
        self, include_fields: Sequence[str] | None = None, max_uniques: int | None = None, **unknown: Any
    ) -> dict[str, Any]:
        """Return the values that conditions may have, by field: ``unique_values[field]["values"]``.

        Raises
        ------
        CohortError
            If a field is no column.
        """
        import pyarrow.compute as pc

        refuse(unknown, self.available_conditions)
        fields = include_fields or [name for name in _REPORTED if name in self.columns]
        uniques = {}
        for field in fields:
            values = pc.unique(self._cells[column_of(field, self.columns)]).to_pylist()
            values = [value for value in values if value is not None]
            some = values if max_uniques is None else values[:max_uniques]
            uniques[field] = {"n_unique": len(values), "n_returned": len(some), "values": some}
        return {
            "status": "NO_SUBSET_RETRIEVED",
            "field_alias": self.FIELD_ALIAS,
            "unique_values": uniques,
            "metadata_rows": len(self._cells),
        }

    def view(self, query_dict: Mapping[str, Any], **unknown: Any) -> pd.DataFrame:
        """Return the metadata of the metacells that fulfil all conditions, and print how they are distributed.

        Parameters
        ----------
        query_dict
            Field or column -> value, or a list of values; None says nothing. Case does not matter.

        Raises
        ------
        CohortError
            If a column or value does not exist, or nothing is selected; no earlier answer is kept then.
        """
        import pyarrow as pa

        refuse(unknown, self.view)
        self._chosen = self.last_query_result = None
        self.last_query_conditions_raw = self.last_query_conditions_resolved = None
        wanted = resolved(query_dict, self.columns)
        chosen = matching_rows(self._cells, wanted)
        cells = self._cells.filter(pa.array(chosen))
        found = self._frame(cells).set_axis(np.flatnonzero(chosen), axis=0)  # rows of the metadata
        _tell(cells, wanted, "samples with given conditions")
        task = TASKS[DISEASE]
        if task.field in wanted:
            self._tell_controls({**wanted, task.field: task.control})
        self._chosen, self.last_query_result = chosen, found
        self.last_query_conditions_raw, self.last_query_conditions_resolved = query_dict, wanted
        return found

    def _tell_controls(self, wanted: Mapping[str, Any]) -> None:
        import pyarrow as pa

        try:
            controls = matching_rows(self._cells, wanted)
        except CohortError as error:
            print(f"No control: {error}")
            return
        _tell(self._cells.filter(pa.array(controls)), wanted, "controls under the same conditions")

    def extract(
        self,
        extract_mode: str | None = None,
        task: str = DISEASE,
        stratified_balancing: bool = False,
        shuffle: bool = False,
        sample_ratio: float | None = None,
        sample_size: int | None = None,
        random_state: int = 2025,
        correction_method: str | None = None,
        output_dir: str | Path | None = None,
        *,
        match_keys: Sequence[str] | None = None,
        **unknown: Any,
    ) -> Any:
        """Return the values and metadata of what `view` selected.

        Parameters
        ----------
        extract_mode
            ``inference`` or ``train``.
        task
            ``disease``, ``sex``, ``cell_type`` or, for training, ``pretrain``.
        stratified_balancing
            Whether each case gets one control that agrees in the keys of the task.
        sample_ratio, sample_size
            Share or number of metacells to draw; see docs/celltosg.md for of what.
        correction_method
            ``combat_seq`` (or ``combat``, ``pycombat_seq``): fitted on training cells; for training only.
        output_dir
            Folder for the result; of an earlier answer to another query it is refused.
        match_keys
            Columns in place of those of the task.

        Returns
        -------
        inference
            ``(counts, metadata)``: a frame of raw counts, float32, rows ``sample_index``, columns genes.
        train
            ``((x, metadata), (x, metadata))`` of train and test: log1p of counts per 10,000, float32 ``(n, n_nodes)``.

        Raises
        ------
        TosgError
            If a parameter cannot be, or nothing was selected by `view`.
        """
        refuse(unknown, self.extract)
        method = None if correction_method in (None, "", "none") else str(correction_method).strip().lower()
        request = Request(
            extract_mode=str(extract_mode),
            task=task,
            stratified_balancing=stratified_balancing,
            shuffle=shuffle,
            sample_ratio=sample_ratio,
            sample_size=sample_size,
            random_state=random_state,
            correction_method=method,
            match_keys=tuple(match_keys or ()),
        ).checked()
        if self._chosen is None or self.last_query_conditions_resolved is None:
            raise CohortError(
                "Nothing is selected yet. Call view(conditions) first; available_conditions() lists values."
            )
        wanted, account = self.last_query_conditions_resolved, Account()
        sides = taken(self._cells, self._chosen, wanted, request, account)
        corrections = fit_corrections(self.folder, sides["train"], task) if method else None
        if corrections is not None:
            left = {name: corrections.uncorrected(held) for name, held in sides.items()}
            account.facts["correction"] = {**corrections.facts, "cells_uncorrected": left}
        self.report = self._reported(wanted, request, sides, account)
        if output_dir is None:
            return self._values(sides, corrections, None)
        with output_folder(Path(output_dir), self.report["query_sha256"]) as part:
            found = self._values(sides, corrections, part)
            write_report(part, self.report)
        return _remapped(found, Path(output_dir)) if request.extract_mode == TRAIN else found

    def _values(
        self, sides: Mapping[str, pa.Table], corrections: TissueCorrections | None, out: Path | None
    ) -> Any:
        frames = {name: self._sample_frame(held) for name, held in sides.items()}
        if "all" in sides:
            values, frame = gene_frame(self.folder, sides["all"]), frames["all"]
            if out is not None:
                from loaders.omnicelltosg import gene_columns

                frame.to_csv(out / "labels.csv", index=False)
                write_gene_choice(out, gene_columns(self.folder.gene_index))
                values.to_csv(out / "expression_gene.csv")
            return values, frame
        found = []
        for name in SIDES:
            file = None
            if out is not None:
                (out / name).mkdir()
                frames[name].to_csv(out / name / "labels.csv", index=False)
                file = out / name / MATRIX
            found.append((node_matrix(self.folder, self.order, sides[name], corrections, file), frames[name]))
        return tuple(found)

    def _reported(
        self, wanted: Mapping[str, Any], request: Request, sides: Mapping[str, pa.Table], account: Account
    ) -> dict[str, Any]:
        asked = {
            "conditions": {name: _listed(value) for name, value in wanted.items()},
            **request.facts(),
            "content": self.folder.store.folder.parent.name,
        }
        return {
            **asked,
            "query_sha256": query_sha256(asked),
            "cells": {name: len(held) for name, held in sides.items()},
            "left_out": [{"reason": x.reason, "cells": len(x.cell_ids)} for x in account.left_out],
            "notes": account.notes,
            **account.facts,
        }

    def _frame(self, cells: pa.Table) -> pd.DataFrame:
        found: pd.DataFrame = cells.select(self.columns).to_pandas()
        return found

    def _sample_frame(self, cells: pa.Table) -> pd.DataFrame:
        """Metadata of an extract: ``sample_index`` is the row in the values, ``cell_id`` is permanent."""
        found = self._frame(cells)
        found["sample_index"] = np.arange(len(found))
        found["cell_id"] = cells["cell_id"].to_pandas()
        return found


# --------------------------------------------------------------------------- what it uses


def refuse(unknown: Mapping[str, Any], called: Callable[..., Any]) -> None:
    """Refuse arguments that what was called does not name; a `TypeError` with the nearest that it does."""
    known = [name for name in inspect.signature(called).parameters if name != "unknown"]
    for name in unknown:
        near = _RENAMED.get(name) or next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.4)), None)
        hint = f" Did you mean {near!r}?" if near in known else ""
        raise TypeError(f"There is no argument {name!r}.{hint} There are {', '.join(known)}.")


def _remapped(found: Any, out: Path) -> Any:
    """The matrices again, from where they lie now."""
    return tuple((mapped(out / side / MATRIX), frame) for side, (_, frame) in zip(SIDES, found, strict=True))


def _listed(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple | set | frozenset) else [value]
    return sorted(str(one).strip().lower() for one in values)


def _tell(cells: pa.Table, wanted: Mapping[str, Any], what: str) -> None:
    """Print how many cells there are, and how often each value of the columns that were not asked for."""
    print(f"Matched {len(cells)} {what}.")
    for name in _REPORTED:
        if name in cells.column_names and name not in wanted:
            counts = sorted(
                cells[name].value_counts().to_pylist(), key=lambda row: (-row["counts"], str(row["values"]))
            )
            print(f"{name}: " + ", ".join(f"{row['values']} ({row['counts']})" for row in counts))
