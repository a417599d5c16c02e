"""What every value of the cells was mapped to, with the number of cells; and decisions about it, applied to the store.

Applying rewrites the rows of ``cells`` in one commit and leaves the counts alone; no file is read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.abundance import AbundanceReader
from tosg_graph.decisions import AUDIT_COLUMNS, Decision, keep, read_decisions
from tosg_graph.errors import CellsError
from tosg_graph.harmonise import CURATED, FIELDS, UNMAPPED, Mapped, check_target, map_value
from tosg_graph.obs import AGE_COLUMNS, age_columns
from tosg_graph.store_files import CELLS_ROW_GROUP
from tosg_graph.terms import Vocabulary, ontology_labels, term_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion

_SUGGESTED = 50  # values for which nearest terms are looked up: a tenth of a second each
Key = tuple[str, str]  # dataset, value as it was given


@dataclass(frozen=True)
class Applied:
    """What decisions changed: cells by column; none of both where all was so already."""

    cells: Mapping[str, int]
    values: int
    store_version: int


def audit(
    reader: AbundanceReader,
    *,
    dataset: str | None = None,
    columns: Sequence[str] = (),
    unmapped: bool = False,
    vocabulary: Vocabulary | None = None,
) -> pa.Table:
    """List the values that were given and what became of them, most cells first.

    Parameters
    ----------
    dataset, columns
        Of this dataset, of these columns; of all by default.
    unmapped
        Only values without a term.
    vocabulary
        Where the nearest terms of unmapped values are looked up; without it there are no candidates.

    Returns
    -------
    Table
        `AUDIT_COLUMNS`. ``dataset`` is null where a value means the same in all of them.

    Raises
    ------
    CellsError
        If a column or the dataset is not there.
    """
    import pyarrow as pa

    rows = []
    for column in _checked(columns):
        found = _groups(reader, column, dataset)
        for raw in {group["raw"] for group in found}:
            rows += _one_value(column, [g for g in found if g["raw"] == raw], scoped=dataset is not None)
    order = {name: place for place, name in enumerate(term_columns())}
    rows = [row for row in rows if not unmapped or row["label"] == UNMAPPED]
    rows.sort(key=lambda r: (order[r["column"]], -r["cells"], r["raw"], r["dataset"] or ""))
    kinds = {"score": pa.float64(), "cells": pa.int64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in AUDIT_COLUMNS])
    table = pa.Table.from_pylist(rows, schema=schema)
    return with_candidates(table, vocabulary, UNMAPPED) if vocabulary else table


def with_candidates(rows: pa.Table, vocabulary: Vocabulary, label: str | None = None) -> pa.Table:
    """Add ``candidates`` to rows with ``column``, ``raw`` and ``rule``: the terms that a value may mean.

    Those that the rule names where they are several, else those that look most like it. With ``label`` only for rows
    of that label.
    """
    import pyarrow as pa

    found: list[str | None] = []
    asked = 0
    for row in rows.to_pylist():
        wanted = asked < _SUGGESTED and (label is None or row["label"] == label)
        asked += wanted
        found.append(_candidates(row, vocabulary) if wanted else None)
    columns = {name: rows[name] for name in rows.column_names if name != "candidates"}
    return pa.table({**columns, "candidates": pa.array(found, pa.string())})


def _candidates(row: Mapping[str, Any], vocabulary: Vocabulary) -> str | None:
    if row["column"] not in term_columns():
        return "no form of an age"
    terms = vocabulary.terms(row["column"])
    several = (row["rule"] or "").partition(": ")[2]
    ids = [i for i in several.split(", ") if i in terms.name_of]
    return (
        "; ".join(f"{i} {terms.name_of[i]}" for i in ids or (m.id for m in terms.alike.nearest(row["raw"])))
        or None
    )


def apply(
    store: AbundanceStore, path: Path, vocabulary: Vocabulary, *, dataset: str | None = None
) -> Applied:
    """Map cells in the store as an edited audit, or a mapping file, decides; the same file again changes nothing.

    Decisions are kept beside the store (``terms.yaml``), for later adds that ask for them.

    Raises
    ------
    CellsError
        If a line names a column, value, dataset or id that is not there, or contradicts another.
    StoreError
        If the store is empty or locked.
    """
    decisions = [_in_dataset(path, d, dataset) for d in read_decisions(path) if d.target]
    with store.writer() as append, AbundanceReader.open(store) as reader:
        changes: dict[str, dict[Key, Mapped]] = {}
        cells: dict[str, int] = {}
        decided = []
        for column in dict.fromkeys(d.column for d in decisions):
            mine = [d for d in decisions if d.column == column]
            _check_column(path, mine[0])
            groups = _groups(reader, column, None)
            known = vocabulary.terms(column)
            for decision in mine:
                _check(path, decision, groups, vocabulary)
                mapped = map_value(column, decision.raw, known, {decision.raw: decision.target or ""})
                for group in _meant(decision, groups):
                    if (group["label"], group["id"]) != (mapped.label, mapped.id):
                        changes.setdefault(column, {})[group["dataset"], group["raw"]] = mapped
                        cells[column] = cells.get(column, 0) + group["cells"]
                        decided.append(decision)
                    elif group["rule"] == CURATED:  # by an apply that may have ended before it was kept
                        decided.append(decision)
        version = reader.version
        if changes:
            version = append.replace_cells(_rewritten(store, version, changes))
        keep(store.folder, decided)
    return Applied(cells, sum(map(len, changes.values())), version.cells)


# --------------------------------------------------------------------------- what is there


def _groups(reader: AbundanceReader, column: str, dataset: str | None) -> list[dict[str, Any]]:
    """Combinations of dataset, value and what it was mapped to, with their cells; values that are null are left out."""
    known = reader.cell_columns()
    if column not in known:
        return []
    fields = [f for f in FIELDS if f"{column}{f}" in known]
    found = reader.groups("true", lambda *_: None, ["dataset", *(f"{column}{f}" for f in fields)]).to_pylist()
    names = {"dataset": {row["dataset"] for row in found}}["dataset"]
    if dataset is not None and dataset not in names:
        raise CellsError(
            f"The store has no dataset {dataset!r}. It has {', '.join(sorted(names))}; see tosg cells list."
        )
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in found:
        group = _group(column, row)
        if group["raw"] is None or dataset not in (None, group["dataset"]):
            continue
        key = tuple(v for name, v in group.items() if name != "cells")
        groups.setdefault(key, {**group, "cells": 0})["cells"] += row["cells"]
    return list(groups.values())


def _group(column: str, row: Mapping[str, Any]) -> dict[str, Any]:
    raw, rule = row.get(f"{column}_raw"), row.get(f"{column}_rule")
    label = row[column]
    if raw is None and rule is None and label is not None:
        raw, label = label, UNMAPPED  # kept as it was given, by a version that did not map this column
    return {
        "dataset": row["dataset"],
        "raw": raw,
        "label": label,
        "id": row.get(f"{column}_id")
        or (label if column not in ontology_labels() and label != UNMAPPED else None),
        "rule": rule,
        "score": row.get(f"{column}_score"),
        "cells": row["cells"],
    }


def _one_value(column: str, groups: list[dict[str, Any]], *, scoped: bool) -> list[dict[str, Any]]:
    """Rows of the audit for one value: one if it means the same everywhere, else one per dataset."""

    def row(group: dict[str, Any], cells: int, dataset: str | None) -> dict[str, Any]:
        same = {name: group[name] for name in ("raw", "label", "rule", "score")}
        return {"column": column, "dataset": dataset, "term_id": group["id"], "cells": cells, **same}

    alike = {(g["id"], g["label"], g["rule"]) for g in groups}
    if len(alike) == 1 and not scoped:
        return [row(groups[0], sum(g["cells"] for g in groups), None)]
    return [row(g, g["cells"], g["dataset"]) for g in groups]


# --------------------------------------------------------------------------- what was decided


def _checked(columns: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in term_columns():
            raise CellsError(f"{name!r} takes no terms. These do: {', '.join(term_columns())}.")
    return list(columns) or term_columns()


def _check_column(path: Path, decision: Decision) -> None:
    if decision.column not in term_columns():
        raise CellsError(
            f"{path} line {decision.line}: {decision.column!r} takes no terms. These do: {', '.join(term_columns())}."
        )


def _check(path: Path, decision: Decision, groups: list[dict[str, Any]], vocabulary: Vocabulary) -> None:
    where = f"{path} line {decision.line}: "
    terms, target = vocabulary.terms(decision.column), decision.target or ""
    try:
        check_target(decision.column, decision.raw, target, terms)
    except CellsError as error:
        raise CellsError(f"{where}{error}") from None
    meant = _meant(decision, groups)
    if not meant:
        inside = f" of dataset {decision.dataset!r}" if decision.dataset else ""
        raise CellsError(
            f"{where}no cell{inside} has {decision.column} {decision.raw!r}. Correct the value or take the line out; "
            "tosg cells terms lists what there is."
        )
    found = terms.term(target)
    # After an apply the label of the line is that of before, and the rule says so.
    unedited = all(found and g["id"] == found and g["rule"] != CURATED for g in meant)
    if unedited and decision.label and decision.label != terms.name_of[str(found)]:
        raise CellsError(
            f"{where}the label says {decision.label!r}, but {found} is {terms.name_of[str(found)]!r}. Change term_id; "
            "the label is only for reading."
        )


def _meant(decision: Decision, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [g for g in groups if g["raw"] == decision.raw and decision.dataset in (None, g["dataset"])]


def _in_dataset(path: Path, decision: Decision, dataset: str | None) -> Decision:
    from dataclasses import replace

    if dataset is None or decision.dataset == dataset:
        return decision
    if decision.dataset is not None:
        raise CellsError(
            f"{path} line {decision.line}: it is about dataset {decision.dataset!r}, not {dataset!r}. Take the "
            "line out, or leave --dataset out."
        )
    return replace(decision, dataset=dataset)


# --------------------------------------------------------------------------- rows


def _rewritten(
    store: AbundanceStore, version: StoreVersion, changes: Mapping[str, Mapping[Key, Mapped]]
) -> pa.RecordBatchReader:
    """The rows of the cells table with the changes in them, a batch at a time."""
    import pyarrow as pa

    schema = store.log.cells_schema(version)
    for column in changes:
        for field in _fields(column):
            if field.name not in schema.names:
                schema = schema.append(field)

    def batches() -> Iterator[pa.RecordBatch]:
        for table in _stored(store, version, schema):
            for column, values in changes.items():
                table = _remapped(table, column, values)
            if "development_stage" in changes and "age_years_rule" in table.column_names:
                table = _aged(table)
            yield from table.select(schema.names).cast(schema).combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())


def _stored(store: AbundanceStore, version: StoreVersion, schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows of the cells table in the order of its files; null where a file lacks a column of the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in store.log.file_names("cells", version.cells):
        with store.files.open("cells", name) as file:
            for batch in pq.ParquetFile(file).iter_batches(CELLS_ROW_GROUP):
                table = pa.table(batch)
                yield pa.table(
                    {
                        f.name: table[f.name]
                        if f.name in table.column_names
                        else pa.nulls(len(table), f.type)
                        for f in schema
                    }
                )


def _fields(column: str) -> list[pa.Field]:
    import pyarrow as pa

    kinds = {"_score": pa.float64()}
    ends = [end for end in FIELDS if end != "_id" or column in ontology_labels()]
    return [pa.field(f"{column}{end}", kinds.get(end, pa.string())) for end in ends]


def _remapped(table: pa.Table, column: str, changes: Mapping[Key, Mapped]) -> pa.Table:
    """The table with one column's fields changed where the changes name the cell's dataset and value."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    old = {
        f.name: table[f.name] if f.name in table.column_names else pa.nulls(len(table), f.type)
        for f in _fields(column)
    }
    # As in `_group`: what a version kept that did not map this column is the value as it was given.
    unread = pc.and_(pc.is_null(old[f"{column}_raw"]), pc.is_null(old[f"{column}_rule"]))
    raws = pc.if_else(unread, old[column], old[f"{column}_raw"])
    wanted = list(changes)
    datasets = pc.index_in(table["dataset"], pa.array(names := sorted({d for d, _ in wanted})))
    values = pc.index_in(raws, pa.array(given := sorted({raw for _, raw in wanted})))
    codes = pc.add(pc.multiply(datasets, len(given)), values).fill_null(-1).to_numpy()
    place_of = np.full(
        len(names) * len(given) + 1, -1
    )  # the last, which -1 finds, is that of all other cells
    for place, (dataset, raw) in enumerate(wanted):
        place_of[names.index(dataset) * len(given) + given.index(raw)] = place
    places = place_of[codes]
    hit = pa.array(places >= 0)
    mapped = pa.array(np.maximum(places, 0))
    fresh = {"": "label", "_id": "id", "_rule": "rule", "_score": "score"}
    for field in _fields(column):
        end = field.name.removeprefix(column)
        new = [raw if end == "_raw" else getattr(m, fresh[end]) for (_, raw), m in changes.items()]
        taken = pa.array(new, field.type).take(mapped)
        table = _with(table, field.name, pc.if_else(hit, taken, _plain(old[field.name], field.type)))
    return table


def _aged(table: pa.Table) -> pa.Table:
    """The table with the ages that come from the development stage, after it changed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stages = [_plain(table[name], pa.string()) for name in ("development_stage", "development_stage_raw")]
    fresh = age_columns(pa.nulls(len(table), pa.string()), *stages)
    given = pc.fill_null(pc.equal(_plain(table["age_years_rule"], pa.string()), "age_years"), False)
    for name in (*AGE_COLUMNS, "age_years_rule"):
        new = fresh[name].dictionary_decode()
        table = _with(table, name, pc.if_else(given, _plain(table[name], new.type), new))
    return table


def _plain(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).cast(kind)


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, values) if place >= 0 else table.append_column(name, values)
