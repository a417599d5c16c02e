"""Names of cells and features, and what a file says of its cells, in the form that `MeasuredCells` has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

GENES = "Gene Expression"  # the feature type of 10x Genomics
ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "ensembl_gene_id", "feature_id")


def texts(values: Iterable[Any]) -> list[str]:
    """Text of each value; bytes are UTF-8."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def unique(path: Path, what: str, names: Sequence[str]) -> list[str]:
    """Return the names, or refuse the first that is empty or stands twice."""
    counts = Counter(names)
    if "" in counts:
        raise CellsError(f"{path}: {what} {list(names).index('') + 1} is empty. Give each a name.")
    if len(counts) != len(names):
        twice = next(name for name, count in counts.items() if count > 1)
        raise CellsError(
            f"{path} repeats the {what} {twice!r}. Make them unique first, or add the parts as datasets of their own."
        )
    return list(names)


def something(path: Path, cells: int, features: int) -> None:
    """Refuse a file without cells or without features."""
    if not cells or not features:
        raise CellsError(f"{path} holds {cells} cells and {features} genes. There is nothing to add.")


def ensembl_ids(names: Iterable[str]) -> list[str | None]:
    """Return each name that is an Ensembl id, and None for the others."""
    return [name if name.startswith("ENS") else None for name in names]


@dataclass(frozen=True)
class Features:
    """The features of a file that are genes.

    Parameters
    ----------
    names
        Unique: the symbol, or the id where several features have that symbol or it is empty.
    ids
        Ensembl id, where the file gives one.
    columns
        Which of the file's features these are; None where all.
    note
        What was left out; "" where nothing.
    """

    names: list[str]
    ids: list[str | None]
    columns: npt.NDArray[np.int64] | None = None
    note: str = ""


def gene_features(
    path: Path,
    ids: Sequence[str],
    symbols: Sequence[str],
    types: Sequence[str] | None = None,
    layer: str | None = None,
) -> Features:
    """Pick the genes among the features of a 10x file.

    Parameters
    ----------
    types
        Type of each feature, where the file says so; ``Gene Expression`` otherwise.
    layer
        The type to read. A file with several types is refused without it, so that nothing is left out unasked.

    Raises
    ------
    CellsError
        If lengths differ, there are other types and none was chosen, the chosen one is not there or is not genes, or a
        name repeats.
    """
    if len(symbols) != len(ids) or len(types or ids) != len(ids):
        raise CellsError(
            f"{path} has {len(ids)} ids of features, {len(symbols)} names and {len(types or ids)} types. Fetch "
            "it again."
        )
    kinds = Counter(types) if types else Counter({GENES: len(ids)})
    listed = ", ".join(f"{count} of {kind!r}" for kind, count in kinds.items())
    if layer not in (None, *kinds):
        raise CellsError(f"{path} has no features of type {layer!r}. It has {listed}.")
    if GENES not in kinds or layer not in (None, GENES):
        raise CellsError(
            f"{path}: features of type {layer or next(iter(kinds))!r} are no genes. There are {listed}; only "
            f"{GENES!r} can be added."
        )
    if len(kinds) > 1 and layer is None:
        raise CellsError(
            f"{path} holds features of several types: {listed}. Their names could be taken for genes; add the genes "
            f"alone by --layer {GENES!r}."
        )
    if len(kinds) == 1 or types is None:
        return Features(_names(path, ids, symbols), ensembl_ids(ids))
    at_genes = [at for at, kind in enumerate(types) if kind == GENES]
    chosen = [ids[at] for at in at_genes]
    names = _names(path, chosen, [symbols[at] for at in at_genes])
    left = ", ".join(f"{count} features of {kind!r}" for kind, count in kinds.items() if kind != GENES)
    return Features(names, ensembl_ids(chosen), np.array(at_genes), f"not read: {left}")


def _names(path: Path, ids: Sequence[str], symbols: Sequence[str]) -> list[str]:
    often = Counter(symbols)
    given = zip(symbols, ids, strict=True)
    return unique(path, "feature", [s if s and often[s] == 1 else i for s, i in given])


def obs_of_arrow(table: pa.Table) -> tuple[pa.Table, list[str]]:
    """Convert columns to text, int64, float64 or bool; second, the names of those that are none of these.

    Dictionaries, dates and times become text. Lists and structures are left out and named.
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    columns, left = {}, []
    for name in table.column_names:
        values = table[name].combine_chunks()
        kind = values.type
        if kinds.is_dictionary(kind):
            kind = kind.value_type
        if kinds.is_nested(kind) or kinds.is_binary(kind) or kinds.is_large_binary(kind):
            left.append(name)
        elif kinds.is_boolean(kind):
            columns[name] = values.cast(pa.bool_())
        elif kinds.is_integer(kind):
            columns[name] = values.cast(pa.int64())
        elif kinds.is_floating(kind) or kinds.is_decimal(kind):
            columns[name] = values.cast(pa.float64())
        else:
            columns[name] = values.cast(pa.string())
    if columns:
        return pa.table(columns), left
    return pa.table({"_": pa.nulls(len(table))}).select([]), left
