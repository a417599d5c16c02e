"""Every error the program raises on purpose.

::

    TosgError
    ├── SettingsError          a setting or environment variable cannot be used
    ├── ServerError            the local Neo4j cannot be started, stopped or reached
    ├── DownloadError          a file cannot be fetched, or is not the file that was pinned
    ├── ContractError          a table breaks schema/*.yaml
    ├── LedgerError            a load does not add up
    ├── LoadError              a source cannot be loaded
    ├── LicenceError           a filter by source or licence cannot be used, or leaves nothing
    ├── CellsError             a cell file cannot be added
    ├── StoreError             the abundance store is damaged, locked or of another format
    ├── EngineError            a Ray cluster cannot be reached, or cannot do the work
    ├── CohortError            a cohort expression is not in the grammar, or selects nothing
    ├── QueryError             Cypher is refused, wrong, or has no graph elements
    ├── ExportError            a bundle or another file cannot be written
    ├── BundleError            a bundle cannot be read
    ├── FeedError              batches cannot be made, or not be gone on with
    ├── LayerError             a network's layer cannot run on a topology that cells share
    ├── ModelError             a network cannot be made of a graph, or a checkpoint not be read
    ├── CorrectionError        an effect of batches cannot be told, or not be removed
    ├── GdsError               an algorithm cannot be run on the graph
    └── EmbeddingError         text cannot be embedded

A message names the thing, the value, the bound and the next step, in one line.
"""


class TosgError(Exception):
    """Root of the tree: catch this to catch everything of ours."""


class SettingsError(TosgError):
    """A setting or environment variable cannot be used."""


class ServerError(TosgError):
    """The Neo4j server cannot be started, stopped or reached."""


class DownloadError(TosgError):
    """A file cannot be fetched, or its sha256 is not the pinned one."""


class ContractError(TosgError):
    """A table breaks the contract in ``schema/``."""


class LedgerError(TosgError):
    """Rows read differ from rows loaded, merged and rejected, or from the database's own count."""


class LoadError(TosgError):
    """A knowledge source cannot be loaded."""


class LicenceError(TosgError):
    """A filter by source or licence cannot be used, or leaves nothing."""


class CellsError(TosgError):
    """A file of cells cannot be added."""


class StoreError(TosgError):
    """The abundance store is damaged, locked by another process or of another format."""


class EngineError(TosgError):
    """A Ray cluster cannot be reached, is of another version, does not see the files, or failed."""


class CohortError(TosgError):
    """A cohort expression is outside the grammar, names unknown columns, or selects nothing."""


class QueryError(TosgError):
    """Cypher was refused, failed, or returned nothing that can be used."""


class ExportError(TosgError):
    """A bundle, or another file made of the store, cannot be written."""


class BundleError(TosgError):
    """A bundle cannot be read: damaged, or of another format version."""


class FeedError(TosgError):
    """Batches cannot be made as asked, or a state is of another feed."""


class LayerError(TosgError):
    """A layer of a network cannot run, or would be silently wrong, on a topology that cells share."""


class ModelError(TosgError):
    """A network cannot be built as planned, or a checkpoint is damaged or of another schema."""


class CorrectionError(TosgError):
    """The effect of batches cannot be told from what is to be learnt, or cannot be removed."""


class EmbeddingError(TosgError):
    """Text cannot be embedded with the chosen encoder."""


class GdsError(TosgError):
    """An algorithm cannot be run on the graph."""
