"""What a finished bundle holds, as tables and sparse matrices; each file is checked when it is read.

Knows no graph, no store and no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.bundle_counts import open_shard

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array

EdgeKey = tuple[str, str, str]


@dataclass(frozen=True)
class BundleContent:
    """A finished bundle, read part by part.

    Parameters
    ----------
    folder
        The bundle.
    manifest
        Its ``manifest.json``.
    """

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> BundleContent:
        """Read the manifest.

        Raises
        ------
        BundleError
            If there is no manifest, it is damaged or of a newer format, or a file that it lists is missing.
        """
        path = Path(folder)
        return cls(path, bundle.read_manifest(path))

    @cached_property
    def nodes(self) -> pa.Table:
        """One row per node; row numbers are node numbers."""
        found = bundle.read_table(self.path(bundle.NODES))
        bundle.check_length(
            self.folder / bundle.NODES, "nodes", len(found), sum(self.manifest["nodes"].values())
        )
        return found

    @cached_property
    def genes(self) -> pa.Table:
        """One row per column of the counts."""
        found = bundle.read_table(self.path(bundle.GENES))
        bundle.check_length(self.folder / bundle.GENES, "genes", len(found), self.manifest["genes"])
        return found

    @cached_property
    def cells(self) -> pa.Table:
        """One row per cell: train, then val, then test."""
        found = bundle.read_table(self.path(bundle.CELLS))
        bundle.check_length(
            self.folder / bundle.CELLS, "cells", len(found), sum(self.manifest["splits"].values())
        )
        return found

    @property
    def edge_count(self) -> int:
        """Edges of all types."""
        return sum(self.manifest["edges"].values())

    def edges(self) -> Iterator[tuple[EdgeKey, pa.Table]]:
        """Yield ``(source type, verb, target type)`` and the table of its edges, one type at a time."""
        for name, count in sorted(self.manifest["edges"].items()):
            source, verb, target = name.split("__")
            key = (source, verb, target)
            found = bundle.read_table(self.path(bundle.edge_file(key)))
            bundle.check_length(self.folder / bundle.edge_file(key), "edges", len(found), count)
            yield key, found

    def counts(self) -> Iterator[csr_array[Any, Any]]:
        """Yield raw counts, int32 ``(cells of a shard, genes)``, shard by shard in the order of `cells`."""
        for split in bundle.SPLITS:
            for shard in self.manifest["shards"][split]:
                yield open_shard(self.path(shard["file"]), shard, self.manifest["genes"])[1]

    def path(self, name: str) -> Path:
        """Path of a file of the bundle.

        Raises
        ------
        BundleError
            If the manifest does not list it, or its sha256 is another.
        """
        return bundle.checked_path(self.folder, self.manifest, name)
