"""Names of cells and features, and what a file says of its cells, in the form that `MeasuredCells` has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

GENES = "Gene Expression"  # feature types of 10x Genomics
ANTIBODIES = "Antibody Capture"
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
    """The features of a file that are genes, and its antibodies.

    Parameters
    ----------
    names
        Unique: the symbol, or the id where several features have that symbol or it is empty.
    ids
        Ensembl id, where the file gives one.
    columns
        Which of the file's features these are, genes before antibodies; None where all are genes.
    note
        What was left out; "" where nothing.
    proteins
        Unique names of the antibodies.
    """

    names: list[str]
    ids: list[str | None]
    columns: npt.NDArray[np.int64] | None = None
    note: str = ""
    proteins: list[str] = field(default_factory=list)


def gene_features(
    path: Path,
    ids: Sequence[str],
    symbols: Sequence[str],
    types: Sequence[str] | None = None,
    layer: str | None = None,
    proteins: str | None = None,
) -> Features:
    """Pick the genes and the antibodies among the features of a 10x file.

    Parameters
    ----------
    types
        Type of each feature, where the file says so; ``Gene Expression`` otherwise.
    layer
        The type to read. A file with types beside genes and antibodies is refused without it, so that nothing is left
        out unasked.
    proteins
        ``Antibody Capture`` takes them also where ``layer`` is given, ``none`` leaves them out.

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
    if proteins not in (None, ANTIBODIES, "none") or (proteins == ANTIBODIES and ANTIBODIES not in kinds):
        raise CellsError(
            f"{path} has no proteins {proteins!r}: --option proteins= takes {ANTIBODIES!r} or none."
        )
    if set(kinds) - {GENES, ANTIBODIES} and layer is None:
        raise CellsError(
            f"{path} holds features of several types: {listed}. Their names could be taken for genes; add the genes "
            f"alone by --layer {GENES!r}, with proteins by --option 'proteins={ANTIBODIES}' beside it."
        )
    if len(kinds) == 1 or types is None:
        return Features(_names(path, ids, symbols), ensembl_ids(ids))
    wanted = proteins == ANTIBODIES or (proteins is None and layer is None)
    read = (GENES, ANTIBODIES) if wanted else (GENES,)
    at_genes, at_antibodies = (
        [at for at, t in enumerate(types) if t == kind and kind in read] for kind in (GENES, ANTIBODIES)
    )
    chosen = [ids[at] for at in at_genes]
    names = _names(path, chosen, [symbols[at] for at in at_genes])
    antibodies = _names(
        path, [ids[at] for at in at_antibodies], [symbols[at] for at in at_antibodies], "protein"
    )
    left = ", ".join(f"{count} features of {kind!r}" for kind, count in kinds.items() if kind not in read)
    note = f"not read: {left}" if left else ""
    return Features(names, ensembl_ids(chosen), np.array(at_genes + at_antibodies), note, antibodies)


def _names(path: Path, ids: Sequence[str], symbols: Sequence[str], what: str = "feature") -> list[str]:
    often = Counter(symbols)
    given = zip(symbols, ids, strict=True)
    return unique(path, what, [s if s and often[s] == 1 else i for s, i in given])


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
