"""MuData files: genes of one modality and surface proteins of another, read as AnnData is, run by run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loaders.cell_proteins import NONE, Beside, by_name, check_shape, unique
from loaders.cells_h5ad import matrices, opened, read_group
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    from collections.abc import Sequence

    import h5py
    import pandas as pd

_KIND = ".h5mu"


def read(
    path: Path, layer: str | None = None, *, genes: str = "rna", proteins: str = "prot"
) -> MeasuredCells:
    """Read one ``.h5mu`` file. Its cells are those of the genes; a cell may lack proteins.

    Parameters
    ----------
    layer
        Which matrix of the genes holds raw counts: ``X`` (default), ``raw`` or the name of a layer.
    genes, proteins
        Names of the two modalities; ``proteins`` may be ``none``.

    Raises
    ------
    CellsError
        As `loaders.cells_h5ad.read`; also if a modality is not there, or proteins were measured in cells without genes.
    """
    with opened(path, _KIND) as file:
        held = list(file.get("mod", ()))
        if int(file.attrs.get("axis", 0)) != 0:
            raise CellsError(
                f"{path}: its modalities share features, not cells. Add them one by one as .h5ad."
            )
        for name in (genes, *([proteins] if proteins != NONE else [])):
            if name not in held:
                raise CellsError(
                    f"{path} has no modality {name!r}. It has {', '.join(held) or 'none'} (--option genes=, proteins=)."
                )
        layers = matrices(file["mod"][proteins]) if proteins != NONE else {"X": ""}
        if "X" not in layers:
            raise CellsError(f"{path}: the modality {proteins!r} has no X. Put its raw counts there.")
    find = partial(_find, path=path, proteins=proteins)
    return read_group(path, layer, at=f"mod/{genes}", kind=_KIND, find=find, more_obs=_shared_obs)


def _find(file: h5py.File, barcodes: Sequence[str], *, path: Path, proteins: str) -> Beside | None:
    import anndata

    if proteins == NONE:
        return None
    group = file["mod"][proteins]
    obs, var = (anndata.io.read_elem(group[name]).index for name in ("obs", "var"))
    names = unique(path, "protein", [str(name) for name in var])
    check_shape(path, group["X"], (len(obs), len(names)), f"the modality {proteins!r}")
    return Beside(names, f"mod/{proteins}/X", by_name(path, proteins, barcodes, obs))


def _shared_obs(file: h5py.File, obs: pd.DataFrame) -> pd.DataFrame:
    """Columns of obs, and what the whole file says of the same cells; not its copies of columns of a modality."""
    import anndata

    shared = anndata.io.read_elem(file["obs"])
    fresh = [name for name in shared.columns if ":" not in str(name) and name not in obs.columns]
    return obs.join(shared[fresh].loc[obs.index]) if fresh else obs
