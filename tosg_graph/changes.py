"""What a load changes: which rows are stored as they are, and which its sources stated before and do not any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tosg_graph import stated
from tosg_graph.stated import Stated

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa


class Changes:
    """Statements of a load against what may be stored; relationships by verb, nodes where the verb is empty.

    Parameters
    ----------
    folder
        Folder of the files of statements.
    files
        Source -> its file of statements of this load.
    sure
        Source -> what is known to be stored of it; of any other, every row counts as changed.
    others
        What sources outside this load state: nothing of it is gone.
    """

    def __init__(
        self, folder: Path, files: Mapping[str, str], sure: Mapping[str, Stated], others: Sequence[Stated]
    ) -> None:
        self._now = {key: stated.open_file(folder / name) for key, name in files.items()}
        self._sure = sure
        self._others = others
        self._gone: dict[tuple[str, str], pa.Array] = {}

    def same(self, verb: str, keys: pa.Array) -> npt.NDArray[np.bool_]:
        """Rows that are known to be stored as they are, bool, shape ``(n,)``.

        Parameters
        ----------
        keys
            Keys or ids of all rows of this load.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        name = "key" if verb else "id"
        changed = [pa.array([], keys.type)]
        for source, file in self._now.items():
            assert file, "it was written by this load"
            now = _rows(file, verb)
            if source in self._sure:
                found = stated.compare(_rows(self._sure[source], verb), now, name, "hash")
                gone = found.gone[name].combine_chunks()
                several = len(self._now) > 1 and len(gone)  # another source of the load may state it now
                self._gone[source, verb] = self._unstated(gone, verb, keys if several else None)
                changed += [*found.added[name].chunks, *found.changed[name].chunks]
            else:
                changed += now[name].chunks
        differs = pc.is_in(keys, value_set=pa.chunked_array(changed).combine_chunks())
        return ~np.asarray(differs.to_numpy(zero_copy_only=False), np.bool_)

    def gone(self, source: str, file: Stated, verb: str, now: pa.Array) -> pa.Array:
        """Keys or ids of a file of a source that nobody states any more.

        Parameters
        ----------
        now
            Keys or ids of all rows of this load.
        """
        if file is self._sure.get(source) and (source, verb) in self._gone:
            return self._gone[source, verb]
        return self._unstated(_rows(file, verb)["key" if verb else "id"].combine_chunks(), verb, now)

    def _unstated(self, keys: pa.Array, verb: str, now: pa.Array | None) -> pa.Array:
        """Keys that neither ``now`` nor another source has; a node knows its sources itself, so ids are not asked."""
        if now is not None:
            keys = stated.without(keys, now)
        for file in self._others if verb else ():
            if len(keys) and verb in file.verbs():
                keys = stated.without(keys, file.edges(verb)["key"])
        return keys


def _rows(file: Stated, verb: str) -> pa.Table:
    return file.edges(verb) if verb else file.nodes()
