"""DRKG, the Drug Repurposing Knowledge Graph: one table of statements that name their resource."""

from __future__ import annotations

from pathlib import Path

from loaders.columns import column, csv_blocks
from loaders.statements import NEUTRAL, label_for
from loaders.tables import Row
from loaders.triples import Meaning, Triples
from tosg_graph.contract import allows
from tosg_graph.types import Parsed, Source, UserFile

_HOME = "https://github.com/gnn4dr/DRKG"

SOURCE = Source(
    key="drkg",
    title="DRKG, Drug Repurposing Knowledge Graph",
    version="as given",
    licence="mixed: each resource keeps its own terms; parts are non-commercial",
    homepage=_HOME,
    size_mb=0.0,
    files={"statements": UserFile("drkg.tsv*", _HOME)},
    in_demo=False,
    note="`source` of each edge is the resource that its relation names; nodes have ids but no names.",
    terms="Holds content of DrugBank (non-commercial) and others: check their terms before commercial use.",
)

# Type -> labels it may become, prefix of ids that have none.
_KINDS: dict[str, tuple[list[str], str]] = {
    "Gene": (["Gene"], "NCBIGene"),
    "Compound": (["Drug"], ""),
    "Disease": (["Disease"], ""),
    "Anatomy": (["Organ"], ""),
    "Biological Process": (["BiologicalProcess"], ""),
    "Molecular Function": (["MolecularFunction"], ""),
    "Cellular Component": (["CellularComponent"], ""),
    "Symptom": (["Phenotype"], "MESH"),
    "Side Effect": (["Phenotype"], "UMLS"),
    "Pathway": (["Pathway"], ""),
    "Tax": (["Microbe"], "NCBITaxon"),
}
# Start of an id without a prefix, or a prefix of theirs -> prefix of ours, and whether the start stays.
_FORMS = {
    "DB": ("DRUGBANK:", True),
    "CHEMBL": ("CHEMBL.COMPOUND:", True),
    "pubchem:": ("PUBCHEM.COMPOUND:", False),
    "PC7_": ("PATHWAYCOMMONS:", True),
    "WP": ("WIKIPATHWAYS:", True),
}
# (resource, relation) -> verb and properties; every other one is ASSOCIATED_WITH.
_VERBS: dict[tuple[str, str], tuple[str, Row]] = {
    ("DRUGBANK", "target"): ("TARGETS", {}),
    ("DRUGBANK", "treats"): ("INDICATED_FOR", {"kind": "treats"}),
    ("Hetionet", "CtD"): ("INDICATED_FOR", {"kind": "treats"}),
    ("Hetionet", "CpD"): ("INDICATED_FOR", {"kind": "palliates"}),
    ("Hetionet", "CbG"): ("TARGETS", {}),
    ("Hetionet", "GiG"): ("INTERACTS_WITH", {}),
    ("Hetionet", "Gr>G"): ("SIGNALS_TO", {"sign": 0}),
    ("Hetionet", "GpBP"): ("INVOLVED_IN", {}),
    ("Hetionet", "GpMF"): ("ENABLES", {}),
    ("Hetionet", "GpCC"): ("LOCATED_IN", {}),
    ("Hetionet", "GpPW"): ("PARTICIPATES_IN", {}),
    ("INTACT", "PHYSICAL ASSOCIATION"): ("INTERACTS_WITH", {}),
    ("INTACT", "DIRECT INTERACTION"): ("INTERACTS_WITH", {}),
    ("STRING", "BINDING"): ("INTERACTS_WITH", {}),
    ("bioarx", "HumGenHumGen"): ("INTERACTS_WITH", {}),
}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse DRKG.

    Parameters
    ----------
    paths
        ``statements``: ``drkg.tsv``: head, relation, tail, without a header.

    Raises
    ------
    LoadError
        If the file cannot be read or has another number of columns.
    """
    import pyarrow as pa

    found = Triples("drkg")
    for _, rows in csv_blocks(
        paths["statements"], ["head", "relation", "tail"], separator="\t", header=False
    ):
        coded = column(rows, "relation").dictionary_encode()
        by = pa.array([text.partition("::")[0] for text in coded.dictionary.to_pylist()], pa.string())
        heads, tails = (found.keys.of(column(rows, name)) for name in ("head", "tail"))
        found.add(heads, coded, tails, by.take(coded.indices))
    return found.parsed(_node_of, _meaning)


def _node_of(key: str) -> tuple[str, Row] | str:
    """``Gene::9021`` -> a gene; a type may hold spaces, an id may hold colons."""
    kind, _, given = key.partition("::")
    if kind not in _KINDS:
        return f"type {kind!r} is not in the schema"
    labels, prefix = _KINDS[kind]
    id_ = _curie(given, prefix)
    label = label_for(id_, labels)
    if label is None or any(c.isspace() for c in id_) or (prefix == "NCBIGene" and not given.isdecimal()):
        return f"not an id of {' or '.join(labels)}"
    row: Row = {"id": id_, "name": id_}
    if label == "Gene":
        row["symbol"] = id_
    return label, row


def _curie(given: str, prefix: str) -> str:
    if prefix:
        return f"{prefix}:{given}"
    for start, (ours, stays) in _FORMS.items():
        if given.startswith(start):
            return ours + (given if stays else given.removeprefix(start)).partition("_r")[0]
    return given


def _meaning(left: str, predicate: str, right: str) -> Meaning:
    """``SOURCE::name::Head:Tail``; ``bioarx::name:Head:Tail`` has one colon fewer."""
    resource, _, rest = predicate.partition("::")
    name = rest.partition("::")[0] if "::" in rest else rest.partition(":")[0]
    verb, own = _VERBS.get((resource, name), (NEUTRAL, {}))
    if resource == "DGIDB" and name != "OTHER":
        verb, own = "TARGETS", {"action": name.lower()}
    turned = not allows(verb, left, right) and allows(verb, right, left)
    return Meaning(verb, name, own, turned)
