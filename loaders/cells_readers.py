"""Which reader a path of cells means, by its name and by what lies in it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells


@dataclass(frozen=True)
class CellsReader:
    """A format of cells.

    Parameters
    ----------
    name
        As people call it.
    module
        Of ``loaders``; its ``read(path, layer, **options)`` gives `MeasuredCells`. Imported when it is needed.
    suffixes
        Ends of the names of its files.
    inside
        Patterns of files of which a folder in this format holds one.
    options
        Names that ``--option`` may have.
    one_file
        Whether cells are read from the one file that is named, and from nothing beside it.
    """

    name: str
    module: str
    suffixes: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    one_file: bool = False


_H5AD = CellsReader(
    "AnnData (.h5ad)", "cells_h5ad", (".h5ad",), options=("proteins", "protein_names"), one_file=True
)
_CENSUS = CellsReader(
    "CELLxGENE Census (census:ORGANISM) or SOMA folder",
    "cells_census",
    inside=("__tiledb_group.tdb", "__group"),
    options=("filter", "version", "measurement"),
)

# A folder is what the first of these finds in it.
READERS = (
    _H5AD,
    CellsReader("MuData (.h5mu)", "cells_h5mu", (".h5mu",), options=("genes", "proteins"), one_file=True),
    CellsReader("10x HDF5 (.h5)", "cells_10x", (".h5",), options=("proteins",), one_file=True),
    CellsReader("loom (.loom)", "cells_loom", (".loom",), one_file=True),
    CellsReader("AnnData in zarr (folder)", "cells_zarr", (), (".zgroup", ".zattrs", "zarr.json")),
    _CENSUS,
    CellsReader(
        "OmniCellTOSG (folder, or one .npy of it)",
        "cells_omnicelltosg",
        (".npy",),
        ("expression_matrix", "cell_metadata_with_mappings.parquet"),
        ("gene_index",),
    ),
    CellsReader(
        "Matrix Market (folder, or .mtx)",
        "cells_mtx",
        (".mtx", ".mtx.gz"),
        ("*.mtx", "*.mtx.gz"),
        ("rows", "proteins"),
    ),
    CellsReader(
        "Parquet with lists (.parquet, or folder)",
        "cells_parquet",
        (".parquet",),
        ("*.parquet",),
        ("genes", "barcode", "tokens"),
    ),
)

_SUFFIXES = tuple(suffix for reader in READERS for suffix in reader.suffixes)


def reader_of(path: Path) -> CellsReader:
    """Return the reader of a file, a folder or ``census:ORGANISM``.

    Raises
    ------
    CellsError
        If there is nothing at ``path``, or it is of no known format; names what was found and the formats.
    """
    if not is_local(path):
        return _CENSUS
    if path.is_dir():
        for reader in READERS:
            if any(next(path.glob(pattern), None) is not None for pattern in reader.inside):
                return reader
        names = sorted(entry.name for entry in path.iterdir())
        held = f"It holds {', '.join(names[:5]) or 'nothing'}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        files = next((n for n in names if n.lower().endswith(_SUFFIXES)), None)
        hint = f" Name its files: {path}/*{Path(files).suffix}." if files else ""
        raise CellsError(f"{path} is a folder of no known format. {held}.{hint} {_formats()}")
    if not path.exists():
        raise CellsError(f"There is no file or folder {path}.{_nearest(path)}")
    for reader in READERS:
        if path.name.lower().endswith(reader.suffixes):
            return reader
    raise CellsError(f"{path} is of no known format: nothing is known of names like it. {_formats()}")


def is_local(path: Path) -> bool:
    """Whether a path lies on this machine; opening another takes a network and time."""
    return not str(path).startswith("census:")


def check(path: Path, options: Mapping[str, str]) -> CellsReader:
    """Return the reader of a path, which has these options.

    Raises
    ------
    CellsError
        If the path is of no known format, or an option is not one of the format's.
    """
    reader = reader_of(path)
    for name in options:
        if name not in reader.options:
            raise CellsError(
                f"{reader.name} has no option {name!r}. It has {', '.join(reader.options) or 'none'} (--option)."
            )
    return reader


def read(path: Path, layer: str | None = None, options: Mapping[str, str] | None = None) -> MeasuredCells:
    """Read cells of any known format.

    Parameters
    ----------
    layer
        Which matrix holds raw counts; what the names are, the format says.
    options
        Choices that the format knows.

    Raises
    ------
    CellsError
        If the path is of no known format, an option is not one of the format's, or its reader refuses it.
    """
    reader = check(path, options or {})
    found: MeasuredCells = import_module(f"loaders.{reader.module}").read(path, layer, **dict(options or {}))
    return found


def _nearest(path: Path) -> str:
    """What may have been meant by a path that is not there."""
    folder = path.parent
    if not folder.is_dir():
        return f" There is no folder {folder} either."
    near = difflib.get_close_matches(path.name, sorted(entry.name for entry in folder.iterdir()), n=3)
    return f" Did you mean {' or '.join(str(folder / name) for name in near)}?" if near else f" {_formats()}"


def _formats() -> str:
    return f"Cells are read from: {'; '.join(reader.name for reader in READERS)}."
