"""Copies of a cell: the same barcode and the same counts, whatever the dataset calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tosg_graph import duplicates
from tosg_graph.duplicates import copies

CORE = "AAACCTGAGAAACCAT"


class World:
    """Cells with their counts; remembers which were read."""

    def __init__(self, rows: list[tuple[str, tuple[int, ...]]]) -> None:
        self.vectors = {f"c{k:03d}": vector for k, (_, vector) in enumerate(rows)}
        self.read: list[str] = []
        self.cells = pa.table(
            {
                "cell_id": list(self.vectors),
                "barcode": [barcode for barcode, _ in rows],
                "n_counts": pa.array([sum(v) for v in self.vectors.values()], pa.int64()),
                "n_genes": pa.array([sum(x > 0 for x in v) for v in self.vectors.values()], pa.int32()),
            }
        )

    def counts(self, ids: Sequence[str]) -> csr_array[Any, Any]:
        self.read += ids
        return csr_array(np.array([self.vectors[i] for i in ids], np.int32))

    def copies(self) -> list[str | None]:
        return copies(self.cells, self.counts)


def test_the_nucleotides_of_a_barcode_and_the_counts_say_that_two_cells_are_one() -> None:
    world = World(
        [
            (f"{CORE}-1", (1, 2, 3)),
            ("other", (1, 2, 3)),
            (f"batch2_{CORE.lower()}", (1, 2, 3)),
            (f"{CORE}-1", (3, 2, 1)),  # the same sum and number of genes, other counts
            (f"{CORE}-2", (1, 2, 4)),
            ("other", (9, 0, 0)),
        ]
    )
    assert world.copies() == ["c000", None, "c000", None, None, None]
    assert set(world.read) == {"c000", "c002", "c003"}  # nobody else's counts were read


def test_empty_cells_are_no_copies() -> None:
    world = World([(CORE, (0, 0)), (CORE, (0, 0))])
    assert world.copies() == [None, None]
    assert world.read == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", CORE]), st.tuples(st.integers(0, 2), st.integers(0, 2))),
        max_size=30,
    )
)
def test_copies_are_what_a_comparison_of_all_pairs_says(rows: list[tuple[str, tuple[int, ...]]]) -> None:
    world = World(rows)
    expected = []
    for barcode, vector in rows:
        same = [f"c{k:03d}" for k, row in enumerate(rows) if row == (barcode, vector)]
        expected.append(same[0] if len(same) > 1 and sum(vector) else None)
    assert world.copies() == expected


def test_candidates_are_read_some_at_a_time(monkeypatch: Any) -> None:
    monkeypatch.setattr(duplicates, "READ_CELLS", 2)
    world = World([(CORE, (1, 2))] * 5)
    assert world.copies() == ["c000"] * 5
