"""OmniPath interactions: signaling between proteins with direction, sign and the databases behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loaders.tables import ROW, Row, edge_table, read_rows, read_text, split_list
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Reject, Source, WebFile

_HOME = "https://omnipathdb.org"

SOURCE = Source(
    key="omnipath",
    title="OmniPath interactions",
    version="the web service's newest, or as given",
    licence="mixed: each resource keeps its own terms; some are for academic use only",
    homepage=_HOME,
    size_mb=0.0,
    files={
        "interactions": WebFile(
            url=f"{_HOME}/interactions?genesymbols=yes&organisms=9606&fields=sources,references,type",
            pattern="*omnipath*interactions*",
        )
    },
    in_demo=False,
    terms="Some of its resources are for academic use only; ask the service for `license=commercial` and use --path.",
    note="Rows without a consensus on the sign have sign 0; complexes are linked by their members.",
)

# The columns that every query gives, and the two that are used where they are there.
_COLUMNS = ("source", "target", "is_directed", "is_stimulation", "is_inhibition")
_CONSENSUS = ("consensus_stimulation", "consensus_inhibition")
_OPTIONAL = ("references", "ncbi_tax_id_source", "ncbi_tax_id_target", "type")
_HUMAN = ("", "9606")
_TRUE, _FALSE = {"1", "True", "TRUE", "true"}, {"0", "False", "FALSE", "false", ""}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse interactions into SIGNALS_TO, where they are directed, and INTERACTS_WITH between proteins.

    ``read`` counts pairs of members: a complex is as many rows as it has members. The sign is that of the
    consensus; where stimulation and inhibition are both stated and the consensus has neither or both, it is 0.

    Parameters
    ----------
    paths
        ``interactions``: TSV with a header, as the web service gives it.

    Raises
    ------
    LoadError
        If a column is missing, or a truth value is neither.
    """
    path = paths["interactions"]
    directed: list[Row] = []
    undirected: list[Row] = []
    rejects: list[Reject] = []
    for number, row in _rows(path):
        tax = [row.get(name, "") for name in ("ncbi_tax_id_source", "ncbi_tax_id_target")]
        if any(t not in _HUMAN for t in tax):
            rejects.append(Reject(number, "ncbi_tax_id", "/".join(tax), "not human"))
            continue
        members = [row[end].removeprefix("COMPLEX:").split("_") for end in ("source", "target")]
        odd = next((m for end in members for m in end if not m.isalnum()), None)
        if odd is not None or any(m.startswith("MIMAT") for end in members for m in end):
            value = odd if odd is not None else "/".join(members[0] + members[1])
            rejects.append(Reject(number, "source", value, "not a UniProt accession"))
            continue
        said: Row = {ROW: number, "publications": _publications(row.get("references", ""))}
        target = directed if _truth(path, number, row, "is_directed") else undirected
        if target is directed:
            said["sign"] = _sign(path, number, row)
        pairs = [(f"UniProtKB:{a}", f"UniProtKB:{b}") for a in members[0] for b in members[1]]
        target += [{"subject": a, "object": b, **said} for a, b in pairs]
    signals = ("Protein", "SIGNALS_TO", "Protein")
    binds = ("Protein", "INTERACTS_WITH", "Protein")
    read = len(directed) + len(rejects)
    return Parsed(
        edges=(
            edge_table("omnipath", "directed", signals, directed, read=read, rejects=rejects),
            edge_table("omnipath", "undirected", binds, undirected, read=len(undirected)),
        )
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    names = next(read_text(path), (0, ""))[1].split("\t")
    there = [name for name in (*_CONSENSUS, *_OPTIONAL) if name in names]
    return read_rows(path, [*_COLUMNS, *there])


def _truth(path: Path, number: int, row: dict[str, str], name: str) -> bool:
    if row[name] not in _TRUE | _FALSE:
        raise LoadError(
            f"{path.name}: row {number}, column {name!r}, value {row[name]!r}: neither true nor false."
        )
    return row[name] in _TRUE


def _sign(path: Path, number: int, row: dict[str, str]) -> int:
    """1, -1, or 0 where the row says both or neither."""
    for pair in (("is_stimulation", "is_inhibition"), _CONSENSUS):
        if pair[0] in row:
            up, down = (_truth(path, number, row, name) for name in pair)
            if up != down:
                return 1 if up else -1
    return 0


def _publications(text: str) -> list[str]:
    """``KEGG:1;SIGNOR:2;2`` -> ``PMID:1, PMID:2``."""
    ids = {part.rpartition(":")[2] for part in split_list(text, ";")}
    return sorted(f"PMID:{i}" for i in ids if i.isdigit())
