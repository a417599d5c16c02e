"""A bundle as a file of another format, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tosg_graph.bundle import refuse_existing
from tosg_graph.errors import ExportError


@dataclass(frozen=True)
class Converted:
    """What was written."""

    path: Path
    facts: dict[str, str]

    def as_facts(self) -> dict[str, str]:
        """Short lines for people."""
        return {"file": str(self.path), **self.facts}


def convert(folder: str | Path, out: str | Path) -> Converted:
    """Write a bundle as ``.h5ad`` (AnnData), ``.graphml``, or as a list of edges, ``.tsv`` or ``.parquet``.

    Raises
    ------
    BundleError
        If the bundle is damaged.
    ExportError
        If the ending is of no format, ``out`` exists or cannot be written, or the format cannot hold the bundle;
        nothing is left then.
    """
    path = Path(out)
    if path.suffix not in FORMATS:
        raise ExportError(
            f"{path} has the ending {path.suffix!r}, which is no format. Choose {', '.join(FORMATS)}."
        )
    path = refuse_existing(path)
    return Converted(path, FORMATS[path.suffix](folder, path))


def _anndata(folder: str | Path, out: Path) -> dict[str, str]:
    from tosg_graph.bundle_anndata import write_anndata

    return write_anndata(folder, out)


def _graphml(folder: str | Path, out: Path) -> dict[str, str]:
    from tosg_graph.bundle_graph import write_graphml

    return write_graphml(folder, out)


def _edges(folder: str | Path, out: Path) -> dict[str, str]:
    from tosg_graph.bundle_graph import write_edges

    return write_edges(folder, out)


FORMATS: dict[str, Callable[[str | Path, Path], dict[str, str]]] = {
    ".h5ad": _anndata,
    ".graphml": _graphml,
    ".tsv": _edges,
    ".parquet": _edges,
}
