"""What the Delta logs of a store's four tables say: versions, and the files of each; and how files get into them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tosg_graph.counts_files import counts_schema
from tosg_graph.errors import StoreError
from tosg_graph.store_files import StoredFile, StoreFiles
from tosg_graph.types import StoreVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

FORMAT_VERSION = 1
TABLES = ("axis", "measured", "counts", "cells")
_METADATA = "tosg"  # key of our record in the metadata of a commit of ``cells``


@dataclass(frozen=True)
class Record:
    """What one commit of ``cells`` says."""

    version: StoreVersion
    blocks: int  # number of blocks so far
    datasets: list[dict[str, Any]]
    timestamp: int  # milliseconds since 1970, UTC
    operation: str  # "add", "compact" or "terms"
    rewrites: bool  # the files of the version before are not among its own
    era: int = 0  # how many commits so far rewrote the files


@dataclass(frozen=True)
class StoreLog:
    """The logs of a store.

    Parameters
    ----------
    files
        The files of its tables.
    pinned
        Version that counts as the newest.
    """

    files: StoreFiles
    pinned: int | None = None

    # ----------------------------------------------------------------- versions

    def record(self) -> Record | None:
        """Read what the newest commit of ``cells`` says, or the pinned one; None for an empty store."""
        if self.pinned is not None:
            return self.record_at(self.pinned)
        newest = self.records(1) or self.records()  # one commit is read where that is enough
        return newest[0] if newest else None

    def record_at(self, number: int) -> Record:
        """Return what commit ``number`` of ``cells`` says.

        Raises
        ------
        StoreError
            If no commit of ours has that number.
        """
        records = self.records()
        for record in records:
            if record.version.cells == number:
                return record
        known = ", ".join(str(record.version.cells) for record in records[:10]) or "none"
        raise StoreError(
            f"{self.files.url} has no version {number}; the newest are {known}. `tosg cells versions` lists all."
        )

    def records(self, limit: int | None = None) -> list[Record]:
        """Read what each commit of ``cells`` says, newest first; ours among the newest ``limit``, or all.

        Raises
        ------
        StoreError
            If one is of a newer format, or there are commits but none of ours.
        """
        from deltalake import DeltaTable

        address = self.files.table("cells")
        if not DeltaTable.is_deltatable(address):
            return []
        commits = DeltaTable(address).history(limit)
        found = [self._said(commit) for commit in commits if _METADATA in commit]
        if not found and limit is None:
            raise StoreError(
                f"{address} is a Delta table, but not one of ours. Set TOSG_HOME to another folder."
            )
        era = 0
        for place in reversed(range(len(found))):
            era += found[place].rewrites
            found[place] = replace(found[place], era=era)
        return found

    def _said(self, commit: dict[str, Any]) -> Record:
        said = json.loads(commit[_METADATA])
        if said["format_version"] > FORMAT_VERSION:
            raise StoreError(
                f"{self.files.url} was written in store format {said['format_version']}; this version reads up to "
                f"{FORMAT_VERSION}. Update tosg-graph."
            )
        if "measured" not in said:
            raise StoreError(
                f"{self.files.url} does not say what each dataset measured: an unreleased version wrote it. Set "
                "TOSG_HOME to another folder and add the cells again."
            )
        version = StoreVersion(
            commit["version"], said["counts"], said["axis"], said["axis_sha256"], said["measured"]
        )
        rewrites = commit.get("operationParameters", {}).get("mode") != "Append"
        operation = said.get("operation", "add")
        return Record(version, said["blocks"], said["datasets"], commit["timestamp"], operation, rewrites)

    # ----------------------------------------------------------------- files

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        """Open a table at one of its own versions, or at its newest.

        Raises
        ------
        StoreError
            If its log is damaged.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            return DeltaTable(self.files.table(name), version=version)
        except DeltaError as error:
            raise StoreError(
                f"The {name} table of {self.files.url} has no readable version {version}: {error}. "
                "Restore the folder from a copy, or add the files again into a new TOSG_HOME."
            ) from error

    def newest(self, name: str) -> int:
        """Newest version of a table, whether a commit of ``cells`` names it or not."""
        version: int = self.table(name).version()
        return version

    def uris(self, name: str, version: int) -> list[str]:
        """Addresses of the Parquet files of a table at one of its own versions, sorted."""
        return sorted(self.table(name, version).file_uris())

    def file_names(self, name: str, version: int) -> list[str]:
        """Names of the Parquet files of a table at one of its own versions, sorted."""
        return [uri.rsplit("/", 1)[1] for uri in self.uris(name, version)]

    def file_sizes(self, name: str, version: StoreVersion) -> dict[str, int]:
        """Name -> bytes of the Parquet files of a table, as its log has them."""
        import pyarrow as pa

        actions = pa.table(self.table(name, version.of(name)).get_add_actions(flatten=True))
        pairs = zip(actions["path"].to_pylist(), actions["size_bytes"].to_pylist(), strict=True)
        return {path.rsplit("/", 1)[-1]: size for path, size in sorted(pairs)}

    def named_files(self, name: str, records: Sequence[Record] | None = None) -> set[str]:
        """Names of the Parquet files of a table that any version in ``records`` (all without) needs."""
        found: set[str] = set()
        era = -1
        for record in self.records() if records is None else records:  # newest first
            # Within an era files are only added, so that its last version names all of them.
            if record.era != era:
                found |= set(self.file_names(name, record.version.of(name)))
                era = record.era
        return found

    def cells_schema(self, version: StoreVersion) -> pa.Schema:
        """Columns of the cells table, those of all files together."""
        import pyarrow as pa

        return pa.schema(self.table("cells", version.cells).schema().to_arrow())

    # ----------------------------------------------------------------- writing, by who holds the store

    def register_counts(self, files: Sequence[StoredFile], version: int, *, instead: bool = False) -> int:
        """Put finished files into the log of ``counts`` and return its new version; invisible until `register_cells`.

        Parameters
        ----------
        version
            Of the counts so far, -1 for none.
        instead
            Take the place of all files so far, which older versions keep.
        """
        from deltalake import DeltaTable, Schema
        from deltalake.transaction import create_table_with_add_actions

        address, schema = self.files.table("counts"), Schema.from_arrow(counts_schema())
        actions: list[Any] = [file.add_action() for file in files]
        if version < 0:
            create_table_with_add_actions(address, schema, actions, mode="append")
        else:
            mode = "overwrite" if instead else "append"
            DeltaTable(address).create_write_transaction(actions, mode, schema)
        return self.newest("counts")

    def register_cells(
        self, files: Sequence[StoredFile], schema: pa.Schema, said: dict[str, Any], *, instead: bool = False
    ) -> StoreVersion:
        """Put finished files into the log of ``cells``: the commit point.

        Parameters
        ----------
        schema
            Of the files; columns that the table has not yet are added to it.
        said
            What becomes the `Record`: ``counts``, ``axis``, ``axis_sha256``, ``measured``, ``blocks``, ``datasets``,
            ``operation``.
        instead
            As in `register_counts`.

        Raises
        ------
        StoreError
            If another machine, which our lock does not keep out, wrote counts since.
        """
        from deltalake import CommitProperties, DeltaTable, Schema
        from deltalake.transaction import create_table_with_add_actions

        address = self.files.table("cells")
        actions: list[Any] = [file.add_action() for file in files]
        record = CommitProperties(
            custom_metadata={_METADATA: json.dumps({"format_version": FORMAT_VERSION, **said})}
        )
        if sorted(self.table("counts").file_uris()) != self.uris("counts", said["counts"]):
            raise StoreError(
                f"Another machine is writing to {self.files.url}. Nothing was added; run this again when it is done."
            )
        own = Schema.from_arrow(schema)
        if not DeltaTable.is_deltatable(address):
            create_table_with_add_actions(address, own, actions, mode="append", commit_properties=record)
        elif instead:
            DeltaTable(address).create_write_transaction(actions, "overwrite", own, commit_properties=record)
        else:
            table = DeltaTable(address)
            held = {field.name for field in table.schema().fields}
            fresh = [field for field in own.fields if field.name not in held]
            if fresh:  # a commit of its own, which means nothing to us
                table.alter.add_columns(fresh)
            table.create_write_transaction(actions, "append", table.schema(), commit_properties=record)
        written = self.record()
        if written is None:
            raise StoreError(f"The commit to {address} cannot be read back. Run `tosg cells list`.")
        return written.version

    def undo_leftovers(self) -> None:
        """Bring the tables back to what the newest commit names, and remove files of no commit."""
        record = self.record()
        for name in TABLES:
            if record is None:
                self.files.remove_table(name)
                continue
            committed = record.version.of(name)
            newest = self.table(name)
            if sorted(newest.file_uris()) != self.uris(name, committed):
                newest.restore(committed)
            left = set(self.files.listing(name)) - set(self.file_names(name, committed))
            # Older versions need files that the newest does not, once it was compacted.
            for file in left - self.named_files(name) if left else ():
                self.files.remove(name, file)
