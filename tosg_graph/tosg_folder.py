"""An OmniCellTOSG folder read once: its metacells in a store of their own, found again by the folder's content.

Nothing is written into the folder. The store lies in the cache, under the sha256 of the files that it was read from;
which folder has which content is remembered by the sizes and times of its files. Needs no server: genes keep the names
of ``bmg_gene_index.csv``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import CellsError
from tosg_graph.progress import Progress, silent
from tosg_graph.tosg_order import GENE_INDEX, TosgOrder

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.terms import Vocabulary
    from tosg_graph.types import MeasuredCells

DATASET = "omnicelltosg"
MATRIX_FILE, MATRIX_ROW = "matrix_file_path", "matrix_row_idx"
OWN = ("cell_id", "block", "cell", "n_counts")
_TAKEN = ("arm", "match_group")  # columns of what is made of the cells
_MATRICES, _METADATA = "expression_matrix", "cell_metadata_with_mappings.parquet"
_TEXTS = ("s_name.csv", "s_desc.csv", "s_bio.csv")
_OBS = "obs_"  # before the names of the folder's columns, which may be any
_PLACE = "metadata_row"
_SORTED_AS = {"organ": "tissue_general", "disease": "disease_BMG_name", "cell_type": "CMT_name"}
_RECIPE = "OmniCellTOSG folder, 1"
_AT_ONCE = 1024  # cells whose counts are read together


@dataclass(frozen=True)
class TosgFolder:
    """A folder and the store that holds its metacells; made by `open_folder`."""

    root: Path
    gene_index: Path
    store: AbundanceStore

    def cells(self) -> pa.Table:
        """All metacells in the order of the metadata: its columns, then `OWN`."""
        from tosg_graph.abundance import AbundanceReader

        with AbundanceReader.open(self.store) as reader:
            found = reader.cells(None, lambda *_: None).sort_by(_PLACE)
        own = [name for name in found.column_names if name.startswith(_OBS)]
        clash = [name for name in own if name.removeprefix(_OBS) in (*OWN, *_TAKEN)]
        if clash:
            raise CellsError(
                f"{self.root / _METADATA} has a column {clash[0].removeprefix(_OBS)!r}, a name of ours. Rename it."
            )
        names = [*(name.removeprefix(_OBS) for name in own), *OWN]
        return found.select([*own, *OWN]).rename_columns(names)

    def counts(self, cells: pa.Table, at_once: int = _AT_ONCE) -> Iterator[csr_array[Any, Any]]:
        """Yield raw counts of cells in the order given, int32, ``(at_once, genes of the index)`` at a time.

        Parameters
        ----------
        cells
            Rows of `cells`, each at most once.
        """
        from tosg_graph.abundance import AbundanceReader

        with AbundanceReader.open(self.store) as reader:
            column_of = dict(
                zip(*(reader.axis[name].to_pylist() for name in ("feature", "column")), strict=True)
            )
            columns = [column_of[gene] for gene in self.genes()]
            yield from reader.iter_csr(cells.select(["block", "cell"]), columns, at_once)

    def genes(self) -> list[str]:
        """Names of the genes, in the order of the gene index."""
        from loaders.omnicelltosg import gene_columns

        return list(gene_columns(self.gene_index))

    def order(self) -> TosgOrder:
        """The nodes; see `TosgOrder.read`."""
        return TosgOrder.read(self.root, self.gene_index)


def open_folder(
    root: Path, cache: Path | None = None, gene_index: Path | None = None, *, progress: Progress = silent
) -> TosgFolder:
    """Open a folder, and read its metacells into a store if none holds them yet.

    Another process that opens the same content waits until it is read.

    Parameters
    ----------
    cache
        Where stores lie; by default in the cache of this user, ``TOSG_CACHE``.
    gene_index
        The file ``bmg_gene_index.csv``, where it does not lie in the folder.

    Raises
    ------
    CellsError
        If a file is missing or changed while it was read; as `loaders.cells_omnicelltosg.read`.
    """
    from filelock import FileLock

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.settings import read_settings

    root, index = Path(root), Path(gene_index) if gene_index else Path(root) / GENE_INDEX
    files = _files(root, index)
    above = Path(cache or read_settings().cache) / "omnicelltosg"
    state = _state(files)
    seen = above / f"{state}.content"
    content = seen.read_text(encoding="ascii") if seen.is_file() else _content(files)
    folder = above / content
    store = AbundanceStore.open(folder / "store")
    if not (seen.is_file() and store.version()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "reading.lock"):
                if store.version() is None:
                    _read(root, index, store, progress)
                if _state(files) != state:
                    raise CellsError(f"{root} changed while it was read. Open it again when it is complete.")
                seen.write_text(content, encoding="ascii")
        except OSError as error:
            raise CellsError(
                f"{folder} cannot be written: {error.strerror}. Name another cache_dir."
            ) from error
    return TosgFolder(root, index, store)


def write_folder(folder: TosgFolder, out: Path, at_once: int = _AT_ONCE) -> None:
    """Write the folder again out of its store: matrices expanded from genes, metadata, edges, gene index and texts.

    Every ``.npy`` has the bytes of the one that was read, where that one is float32 by rows and as wide as there are
    transcripts.

    Raises
    ------
    CellsError
        If ``out`` is there already.
    LoadError
        If nodes or edges of the folder cannot be read.
    """
    import shutil
    import tempfile

    if out.exists():
        raise CellsError(f"{out} is there already. Name a new folder.")
    order = folder.order()
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent))
    try:
        for name, index in order.edges(folder.root).items():
            np.save(part / f"{name}.npy", index)
        _write_cells(folder, order, part, at_once)
        shutil.copyfile(folder.gene_index, part / GENE_INDEX)
        for name in _TEXTS:
            if (folder.root / name).is_file():
                shutil.copyfile(folder.root / name, part / name)
        part.chmod(0o755)
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write_cells(folder: TosgFolder, order: TosgOrder, out: Path, at_once: int) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    cells = folder.cells()
    pq.write_table(cells.drop_columns(list(OWN)), out / _METADATA)
    (out / _MATRICES).mkdir()
    for name in sorted(set(cells[MATRIX_FILE].to_pylist())):
        rows = cells.filter(pc.equal(cells[MATRIX_FILE], name)).sort_by(MATRIX_ROW)
        shape = (len(rows), order.transcripts)
        matrix = np.lib.format.open_memmap(out / _MATRICES / name, mode="w+", dtype=np.float32, shape=shape)
        start = 0
        for counts in folder.counts(rows, at_once):
            order.expand(counts, out=matrix[start : start + counts.shape[0]])
            start += counts.shape[0]
        matrix.flush()


# --------------------------------------------------------------------------- reading it once


def _read(root: Path, index: Path, store: AbundanceStore, progress: Progress) -> None:
    from loaders.cells_omnicelltosg import read
    from tosg_graph.ingest import Choices, ingest_measured

    measured = read(root, gene_index=str(index))
    describe = partial(_described, place=_places(root))
    choices = Choices(describe, _RECIPE, None, {}, allow_unmapped=True)
    ingest_measured(measured, root, DATASET, None, store, choices, progress)


def _described(
    measured: MeasuredCells, dataset: str, vocabulary: Vocabulary, place: pa.Array
) -> tuple[pa.Table, pa.Table]:
    """One row per metacell: the columns of the metadata as they are, and what orders blocks."""
    import pyarrow as pa

    from tosg_graph.abundance_store import cell_id

    count, obs = len(measured.barcodes), measured.obs
    columns: dict[str, Any] = {
        "cell_id": pa.array([cell_id(dataset, barcode) for barcode in measured.barcodes], pa.string()),
        "dataset": pa.array([dataset] * count, pa.string()),
        "barcode": pa.array(measured.barcodes, pa.string()),
        _PLACE: place,
        "n_counts": pa.nulls(count, pa.int64()),
        "n_genes": pa.nulls(count, pa.int32()),
    }
    for name, source in _SORTED_AS.items():
        columns[name] = (
            obs[source].cast(pa.string()) if source in obs.column_names else pa.nulls(count, pa.string())
        )
    columns |= {f"{_OBS}{name}": obs[name] for name in obs.column_names}
    return pa.table(columns), pa.table({"column": pa.array([], pa.string())})


def _places(root: Path) -> pa.Array:
    """Row in the metadata of each metacell, in the order in which they are read: by file and row."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(root / _METADATA, columns=[MATRIX_FILE, MATRIX_ROW])
    keys = {MATRIX_FILE: table[MATRIX_FILE].cast(pa.string()), MATRIX_ROW: table[MATRIX_ROW].cast(pa.int64())}
    order = pc.sort_indices(pa.table(keys), [(name, "ascending") for name in keys])
    return order.cast(pa.int64())


def _files(root: Path, index: Path) -> list[Path]:
    """What metacells are read from, or a `CellsError` that names what is missing."""
    gone = [path for path in (root, root / _METADATA, index, root / _MATRICES) if not path.exists()]
    if gone:
        raise CellsError(
            f"There is no {gone[0]}. Name the folder of the OmniCellTOSG data set; {GENE_INDEX}, which comes with its "
            "loader, may lie elsewhere: gene_index=FILE."
        )
    return [root / _METADATA, index, *sorted((root / _MATRICES).glob("*.npy"))]


def _state(files: Sequence[Path]) -> str:
    """Hash of paths, sizes and times; the time of change cannot be set back."""
    lines = []
    for path in files:
        stat = path.stat()
        lines.append(f"{path.absolute()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}")
    return hashlib.sha256("\n".join([_RECIPE, *lines]).encode()).hexdigest()[:32]


def _content(files: Sequence[Path]) -> str:
    """Hash of names and bytes."""
    from tosg_graph.hashes import sha256_of

    lines = [_RECIPE, *(f"{path.name} {sha256_of(path)}" for path in files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
