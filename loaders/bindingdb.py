"""BindingDB affinities between DrugBank drugs and human genes, as dhimmel/bindingdb tabulates them."""

from __future__ import annotations

import math
from pathlib import Path

from loaders.drugbank import FILES, compounds_by_drug, drug_row, human_genes
from loaders.tables import ROW, Row, edge_table, node_table, read_rows, split_list
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Reject, Source, WebFile

_HOME = "https://github.com/dhimmel/bindingdb"

SOURCE = Source(
    key="bindingdb",
    title="BindingDB affinities of drugs",
    version="2015 (dhimmel/bindingdb 28dc702)",
    licence="CC-BY-3.0",
    terms="Rows from ChEMBL are CC-BY-SA-3.0.",
    homepage=_HOME,
    size_mb=1.8,
    files={
        "bindings": WebFile(
            url="https://raw.githubusercontent.com/dhimmel/bindingdb/28dc70275103a233a2f02024082adcea45102a96/"
            "data/bindings-drugbank-gene.tsv",
            pattern="bindings-drugbank-gene.tsv*",
            sha256="a7e5e3c8f383f2a02c36449d418c309d99ab3045ebea6e975f54661ae2936ac3",
        ),
        **FILES,
    },
    in_demo=False,
    own_licences=True,
    note="A table of measurements, not of binders: values above 10 uM are rejected.",
)

_WEAKEST_NM = 10_000.0
_CENSORED_NM = 10_001.0  # how the table writes a result of "> 10 uM"


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse drugs and TARGETS with ``affinity_nm``.

    Parameters
    ----------
    paths
        ``bindings``: the table; ``chebi``, ``drugbank``, ``hgnc``: to name drugs and genes.

    Raises
    ------
    LoadError
        If an affinity is not a positive number.
    """
    compounds, human = compounds_by_drug(paths), human_genes(paths)
    columns = [
        "drugbank_id",
        "entrez_gene",
        "affinity_nM",
        "sources",
        "pubmeds",
        "drugbank_name",
        "drugbank_approved",
    ]
    drugs: list[Row] = []
    rows: list[Row] = []
    rejects: list[Reject] = []
    read = 0
    for number, row in read_rows(paths["bindings"], columns):
        read += 1
        drug = drug_row(row["drugbank_id"], row["drugbank_name"], compounds)
        drugs.append({ROW: number, **drug, "approved": True if row["drugbank_approved"] == "1" else None})
        affinity = _affinity(row["affinity_nM"], number, paths["bindings"])
        if affinity == _CENSORED_NM:
            rejects.append(Reject(number, "affinity_nM", row["affinity_nM"], "no binding up to 10 uM"))
        elif affinity > _WEAKEST_NM:
            rejects.append(Reject(number, "affinity_nM", row["affinity_nM"], "weaker than 10 uM"))
        elif row["entrez_gene"] not in human:
            rejects.append(Reject(number, "entrez_gene", row["entrez_gene"], "not a human gene"))
        else:
            rows.append(
                {
                    ROW: number,
                    "subject": drug["id"],
                    "object": f"NCBIGene:{row['entrez_gene']}",
                    "affinity_nm": affinity,
                    "licence": "CC-BY-SA-3.0" if "ChEMBL" in row["sources"] else None,
                    "reference": "; ".join(split_list(row["sources"], ",")),
                    "publications": [f"PMID:{p}" for p in split_list(row["pubmeds"], ",") if p.isdigit()],
                }
            )
    edges = edge_table(
        "bindingdb", "affinities", ("Drug", "TARGETS", "Gene"), rows, read=read, rejects=rejects
    )
    return Parsed((node_table("bindingdb", "drugs", "Drug", drugs, read=read),), (edges,))


def _affinity(text: str, number: int, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise LoadError(
            f"{path.name}: row {number}, column 'affinity_nM', value {text!r}: "
            "not a positive number; correct the row."
        )
    return value
