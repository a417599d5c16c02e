"""DrugCentral targets and indications of approved drugs, as dhimmel/drugcentral tabulates them."""

from __future__ import annotations

from pathlib import Path

from loaders.drugbank import FILES, compounds_by_drug, drug_row, human_genes
from loaders.tables import ROW, Row, edge_table, node_table, read_rows, split_list
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Reject, Source, WebFile

_HOME = "https://github.com/dhimmel/drugcentral"
_AT = (
    "https://raw.githubusercontent.com/dhimmel/drugcentral/0e085ddb6aa42be367c85eba424edea716bebd94/rephetio"
)

SOURCE = Source(
    key="drugcentral",
    title="DrugCentral targets and indications",
    version="2016 (dhimmel/drugcentral 0e085dd)",
    licence="CC-BY-4.0",
    homepage=_HOME,
    size_mb=0.4,
    files={
        "targets": WebFile(
            url=f"{_AT}/targets.tsv",
            pattern="targets.tsv*",
            sha256="e431b9a57648b7f5cca0b03d1f4867dd6e9c5dcda48638dec8096debac919eb0",
        ),
        "indications": WebFile(
            url=f"{_AT}/indications.tsv",
            pattern="indications.tsv*",
            sha256="dc33620bc460b1bc26c905d2eb4acb44075d962db626973e251f69d551a66a4d",
        ),
        **FILES,
    },
    in_demo=False,
    note="Licence as of that commit; DrugCentral is CC-BY-SA-4.0 today. Rows of other species are rejected.",
)

_KINDS = {"DM": "disease modifying", "SYM": "symptomatic", "": "not classified"}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse drugs, TARGETS to genes and INDICATED_FOR diseases.

    Parameters
    ----------
    paths
        ``targets``, ``indications``: the two tables; ``chebi``, ``drugbank``, ``hgnc``: to name drugs and
        genes.
    """
    compounds = compounds_by_drug(paths)
    drugs, targets = _targets(paths, compounds)
    treated, indications = _indications(paths["indications"], compounds)
    return Parsed((drugs, treated), (targets, indications))


def _targets(paths: dict[str, Path], compounds: dict[str, dict[str, str]]) -> tuple[NodeTable, EdgeTable]:
    human = human_genes(paths)
    columns = ["GeneID", "drugbank_id", "drugbank_name", "pubmed_ids", "sources", "actions"]
    drugs: list[Row] = []
    rows: list[Row] = []
    rejects: list[Reject] = []
    read = 0
    for number, row in read_rows(paths["targets"], columns):
        read += 1
        drugs.append({ROW: number, **drug_row(row["drugbank_id"], row["drugbank_name"], compounds)})
        if row["GeneID"] not in human:
            rejects.append(Reject(number, "GeneID", row["GeneID"], "not a human gene"))
            continue
        rows.append(
            {
                ROW: number,
                "subject": drugs[-1]["id"],
                "object": f"NCBIGene:{row['GeneID']}",
                "action": "; ".join(split_list(row["actions"], "|")),
                "reference": "; ".join(split_list(row["sources"], "|")),
                "publications": [f"PMID:{p}" for p in split_list(row["pubmed_ids"], "|")],
            }
        )
    edges = edge_table(
        "drugcentral", "targets", ("Drug", "TARGETS", "Gene"), rows, read=read, rejects=rejects
    )
    return node_table("drugcentral", "target_drugs", "Drug", drugs, read=read), edges


def _indications(path: Path, compounds: dict[str, dict[str, str]]) -> tuple[NodeTable, EdgeTable]:
    drugs: list[Row] = []
    rows: list[Row] = []
    rejects: list[Reject] = []
    read = 0
    for number, row in read_rows(path, ["doid_id", "drugbank_id", "drug", "category"]):
        read += 1
        drugs.append({ROW: number, **drug_row(row["drugbank_id"], row["drug"], compounds)})
        if row["category"] == "NOT":
            rejects.append(Reject(number, "category", "NOT", "stated not to be an indication"))
        elif row["category"] not in _KINDS:
            rejects.append(Reject(number, "category", row["category"], "unknown category"))
        else:
            kind = _KINDS[row["category"]]
            rows.append({ROW: number, "subject": drugs[-1]["id"], "object": row["doid_id"], "kind": kind})
    ends = ("Drug", "INDICATED_FOR", "Disease")
    edges = edge_table("drugcentral", "indications", ends, rows, read=read, rejects=rejects)
    return node_table("drugcentral", "indication_drugs", "Drug", drugs, read=read), edges
