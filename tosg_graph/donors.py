"""Whose each cell is, and the seeded order of donors and cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tosg_graph.types import METACELL_OF

if TYPE_CHECKING:
    import pyarrow as pa


def rank(seed: int, key: str) -> bytes:
    """Order of a cell or a donor among others: 16 bytes that depend on the seed and the key alone."""
    return hashlib.blake2b(key.encode(), key=str(seed).encode(), digest_size=16).digest()


def donor_keys(cells: pa.Table) -> list[str | None]:
    """Dataset and donor of each cell as one text; None where the donor is unknown."""
    if "donor" not in cells.column_names:
        return [None] * len(cells)
    # The donor of a metacell is that of its members, who are of another dataset.
    pairs = zip(studies(cells), cells["donor"].to_pylist(), strict=True)
    return [None if donor is None else f"{dataset}\x1f{donor}" for dataset, donor in pairs]


def studies(cells: pa.Table) -> list[str]:
    """Dataset of each cell; of a metacell that of the cells it is made of."""
    import pyarrow as pa
    import pyarrow.compute as pc

    datasets = cells["dataset"].cast(pa.string())
    if METACELL_OF in cells.column_names:
        datasets = pc.coalesce(cells[METACELL_OF].cast(pa.string()), datasets)
    found: list[str] = datasets.to_pylist()
    return found


def people(cells: pa.Table, copies: Sequence[str | None] | None) -> list[str | None]:
    """Donor of each cell; donors that share a copied cell go by the name of the first of them."""
    donors = donor_keys(cells)
    if copies is None or not any(copies):
        return donors
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    # A copy's own name sorts behind every donor: the name of a set of donors is that of a donor.
    names = [None if copy is None else f"\U0010ffff{copy}" for copy in copies]
    for donor, copy in zip(donors, names, strict=True):
        if donor and copy:
            first, second = sorted((top(donor), top(copy)))
            above[second] = first
    units = [top(donor or copy or "") for donor, copy in zip(donors, names, strict=True)]
    return [None if not unit or unit.startswith("\U0010ffff") else unit for unit in units]
