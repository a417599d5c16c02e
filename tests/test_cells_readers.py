"""Which reader a path means."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from cell_files import WRITERS, adata, coordinates

from loaders.cells_readers import READERS, read, reader_of
from tosg_graph import ingest
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells import add
from tosg_graph.errors import CellsError
from tosg_graph.gene_axis import MAPPED_RULES, GeneNames
from tosg_graph.graph import Graph
from tosg_graph.obs import ObsMapping

MODULES = {
    "10x": "cells_10x",
    "mtx": "cells_mtx",
    "loom": "cells_loom",
    "zarr": "cells_zarr",
    "Parquet": "cells_parquet",
    "OmniCellTOSG": "cells_omnicelltosg",
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_writer_wrote_is_recognised(tmp_path: Path, name: str) -> None:
    path = WRITERS[name](tmp_path, coordinates())
    assert reader_of(path).module == MODULES[name.split()[0]]


def test_h5ad_and_the_census_are_recognised(tmp_path: Path) -> None:
    adata(coordinates()).write_h5ad(tmp_path / "my.h5ad")
    assert reader_of(tmp_path / "my.h5ad").module == "cells_h5ad"
    assert reader_of(Path("census:homo_sapiens")).module == "cells_census"
    assert len(read(tmp_path / "my.h5ad").barcodes) == 5


def test_what_is_unknown_names_what_was_found_and_the_formats(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / f"{name}.txt").touch()
    with pytest.raises(CellsError) as folder:
        reader_of(tmp_path)
    assert "is a folder of no known format. It holds a.txt, b.txt, c.txt, d.txt, e.txt and 2 more." in str(
        folder.value
    )
    with pytest.raises(CellsError) as file:
        reader_of(tmp_path / "a.txt")
    with pytest.raises(CellsError, match=r"There is no file or folder .*none\.h5ad\. Cells are read from"):
        reader_of(tmp_path / "none.h5ad")
    with pytest.raises(CellsError, match=r"no file or folder .*a\.tx\. Did you mean .*a\.txt"):
        reader_of(tmp_path / "a.tx")
    with pytest.raises(CellsError, match=r"There is no folder .*nowhere either\."):
        reader_of(tmp_path / "nowhere" / "a.h5ad")
    (tmp_path / "b.h5ad").touch()
    with pytest.raises(CellsError, match=r"no known format.*Name its files: .*/\*\.h5ad\."):
        reader_of(tmp_path)
    for error in (folder, file):
        assert all(reader.name in str(error.value) for reader in READERS)
        assert "\n" not in str(error.value)


def test_an_option_of_another_format_is_refused(tmp_path: Path) -> None:
    path = WRITERS["loom"](tmp_path, coordinates())
    with pytest.raises(CellsError, match=r"loom \(\.loom\) has no option 'genes'. It has none"):
        read(path, None, {"genes": "x"})
    with pytest.raises(CellsError, match=r"has no option 'genes'\. It has rows"):
        read(WRITERS["mtx by cell"](tmp_path, coordinates()), None, {"genes": "x"})


def test_every_format_is_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "docs" / "cells.md").read_text(encoding="utf-8")
    for reader in READERS:
        assert all(f"`{suffix}`" in text for suffix in reader.suffixes)
        assert all(f"`{option}=" in text for option in reader.options), reader.options


def test_the_same_cells_in_another_format_are_known_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = GeneNames({}, {rule: {} for rule in MAPPED_RULES})
    monkeypatch.setattr(ingest, "read_gene_names", lambda _: nobody)
    store, graph = AbundanceStore.open(tmp_path / "store"), cast("Graph", None)  # obs has nothing to look up
    cells = coordinates()

    def added(name: str, **how: str) -> tuple[str, bool, int, int]:
        folder = tmp_path / name
        folder.mkdir()
        line = add(
            WRITERS[name](folder, cells), graph, store, mapping=ObsMapping(), allow_unmapped=True, **how
        )
        return line.dataset, line.already_present, line.counts_file, line.counts_stored

    total = int(cells.counts.sum())
    assert added("mtx by gene", dataset="mine") == ("mine", False, total, total)
    assert added("10x v3") == ("mine", True, total, total)
    assert added("mtx cells x genes") == ("mine", True, total, total)


def test_a_file_that_is_read_with_others_is_not_known_by_its_own_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = GeneNames({}, {rule: {} for rule in MAPPED_RULES})
    monkeypatch.setattr(ingest, "read_gene_names", lambda _: nobody)
    store, graph = AbundanceStore.open(tmp_path / "store"), cast("Graph", None)
    folder = WRITERS["mtx by cell"](tmp_path, coordinates())
    for dataset, barcode in (("one", "c0-1"), ("two", "another")):
        names = [barcode, *coordinates().barcodes[1:]]
        (folder / "barcodes.tsv").write_text("".join(f"{name}\n" for name in names))
        line = add(
            folder / "matrix.mtx", graph, store, mapping=ObsMapping(), dataset=dataset, allow_unmapped=True
        )
        assert (line.dataset, line.already_present) == (dataset, False)
