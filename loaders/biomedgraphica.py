"""BioMedGraphica, full or Conn: entities of eleven types and the relations between them.

A row is a cluster: any id cell may hold several ids, and one id may occur in several rows. A node is named by
the preferred id of its type where the row has exactly one and no other row has it, else by its BioMedGraphica
id. A relation whose ``Source`` names k resources is k statements. Types that are published in both directions
are stored once wherever the opposite row is there as well; this is checked row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.columns import column, csv_blocks, fold_lists, read_csv, reject_columns, split_cells
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Source, UserFile

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

_HOME = "https://github.com/FuhaiLiAiLab/BioMedGraphica"

SOURCE = Source(
    key="biomedgraphica",
    title="BioMedGraphica",
    version="as given",
    licence="mixed: each resource keeps its own terms; OMIM, DrugBank, UMLS, SNOMED CT and KEGG restrict use",
    homepage=_HOME,
    size_mb=0.0,
    files={
        "relations": UserFile(
            pattern="BioMedGraphica*_Relation.csv",
            homepage=_HOME,
            beside=("../Entity/*/BioMedGraphica*.csv",),
        )
    },
    in_demo=False,
    note="Relations have no predicate, score or direction; `source` of each is the resource named by the row.",
)

RESOURCE = "biomedgraphica"  # who states a relation that names no resource


@dataclass(frozen=True)
class Kind:
    """How the rows of one type become nodes.

    Parameters
    ----------
    label
        Label of the node.
    code
        Letters of its BioMedGraphica ids.
    ids
        Column -> prefix of its CURIEs, in order of preference; ``""`` where the cells are CURIEs already.
    preferred
        How many of ``ids`` may name a node.
    names
        Columns with names, best first; the others become synonyms.
    """

    label: str
    code: str
    ids: Mapping[str, str]
    preferred: int
    names: Sequence[str]
    symbol: str | None = None
    texts: Mapping[str, str] | None = None  # property -> column


_GENE_IDS = {"HGNC_ID": "", "Ensembl_Gene_ID": "ENSEMBL", "NCBI_Gene_ID": "NCBIGene"}
_GENE_IDS |= {"RefSeq_ID": "RefSeq", "OMIM_ID": "OMIM"}

KINDS = {
    "Gene": Kind(
        "Gene", "GN", _GENE_IDS, 3, ("HGNC_Symbol", "Gene_Name"), "HGNC_Symbol", {"locus_type": "Gene_Type"}
    ),
    "Promoter": Kind("Promoter", "PM", {}, 0, ("HGNC_Symbol", "Gene_Name")),
    "Transcript": Kind(
        "Transcript",
        "TS",
        {"Ensembl_Transcript_ID": "ENSEMBL", "RefSeq_ID": "RefSeq", "RNACentral_ID": "RNAcentral"},
        1,
        ("Transcript_Name",),
    ),
    "Protein": Kind(
        "Protein",
        "PT",
        {"Uniprot_ID": "UniProtKB", "Ensembl_Protein_ID": "ENSEMBL", "RefSeq_ID": "RefSeq"},
        2,
        ("UniProt_Name", "HGNC_Symbol"),
        "HGNC_Symbol",
    ),
    "Pathway": Kind(
        "Pathway",
        "PW",
        {"Reactome_ID": "REACT", "KEGG_ID": "KEGG", "WikiPathways_ID": "WIKIPATHWAYS", "PO_ID": ""},
        4,
        ("Reactome_Name", "KEGG_Name", "WikiPathways_Name", "PO_Name"),
    ),
    "Drug": Kind(
        "Drug",
        "DG",
        {"DrugBank_ID": "DRUGBANK", "PubChem_CID": "PUBCHEM.COMPOUND", "UNII": "UNII", "CAS_RN": "CAS"},
        3,
        ("DrugBank_Name", "UNII_Name", "PubChem_Name", "IUPAC_Name"),
    ),
    "Disease": Kind(
        "Disease",
        "DS",
        {"MONDO_ID": "", "DO_ID": "", "OMIM_ID": "OMIM", "UMLS_ID": "UMLS", "MeSH_ID": "MESH"}
        | {"SNOMEDCT_ID": "SNOMEDCT", "ICD10_ID": "ICD10", "ICD11_ID": "ICD11"},
        5,
        ("MONDO_Name", "DO_Name", "MeSH_Name", "UMLS_Name", "ICD11_Title", "SNOMEDCT_Name"),
    ),
    "Phenotype": Kind("Phenotype", "PH", {"HPO_ID": "", "UMLS_ID": "UMLS"}, 1, ("HPO_Name",)),
    "Metabolite": Kind(
        "Metabolite",
        "MT",
        {"ChEBI_ID": "CHEBI", "HMDB_ID": "HMDB", "PubChem_CID": "PUBCHEM.COMPOUND"}
        | {"KEGG_ID": "KEGG", "CAS_RN": "CAS"},
        3,
        ("ChEBI_Name", "HMDB_Name", "IUPAC_Name"),
    ),
    "Microbiota": Kind(
        "Microbe",
        "MC",
        {"NCBI_Taxonomy_ID": "NCBITaxon", "SILVA_ID": "SILVA", "GTDB_ID": "GTDB"},
        1,
        ("NCBI_Taxonomy_Name",),
    ),
    "Exposure": Kind("Exposure", "EP", {"MeSH_ID": "MESH", "CAS_RN": "CAS"}, 1, ("Exposure_Name",)),
}

# Where a column goes by another name in some builds.
_ALSO = {"NCBI_Gene_ID": "NCBI_ID"}

# Type of relation -> verb; every other one is ASSOCIATED_WITH and keeps its type as `relation`.
_VERBS = {
    "Promoter-Gene": "PART_OF",
    "Gene-Transcript": "TRANSCRIBED_TO",
    "Transcript-Protein": "TRANSLATED_TO",
    "Protein-Protein": "INTERACTS_WITH",
    "Protein-Pathway": "PARTICIPATES_IN",
    "Metabolite-Pathway": "PARTICIPATES_IN",
    "Drug-Protein": "TARGETS",
}
# Type -> the type whose opposite rows it repeats, in part or as a whole.
_MIRRORS = {
    "Pathway-Exposure": "Exposure-Pathway",
    "Phenotype-Disease": "Disease-Phenotype",
    "Microbiota-Drug": "Drug-Microbiota",
    "Pathway-Drug": "Drug-Pathway",
    "Pathway-Protein": "Protein-Pathway",
}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the entity files and the relation table.

    Parameters
    ----------
    paths
        ``relations``: the relation table; its folder lies beside ``Entity``.

    Raises
    ------
    LoadError
        If a file or a column is missing, or a file cannot be read.
    """
    relations = paths["relations"]
    home, stem = relations.parent.parent, relations.name.removesuffix("_Relation.csv")
    nodes, index = [], {}
    for kind, rule in KINDS.items():
        folder = home / "Entity" / kind
        if not folder.is_dir():
            raise LoadError(f"{folder} is missing; give the folder that holds Entity and Relation.")
        table, index[kind] = _entities(folder, stem, kind, rule)
        nodes.append(table)
    return Parsed(nodes=tuple(nodes), edges=tuple(_relations(relations, index)))


# --------------------------------------------------------------------------- entities


@dataclass(frozen=True)
class _Index:
    """Number of a BioMedGraphica id -> its node."""

    node_of: npt.NDArray[np.int32]  # by number; -1 where there is none
    ids: pa.Array

    def find(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Nodes of many numbers; -1 where there is none."""
        known = (numbers >= 0) & (numbers < len(self.node_of))
        found = np.full(len(numbers), -1, np.int32)
        found[known] = self.node_of[numbers[known]]
        return found


def _entities(folder: Path, stem: str, kind: str, rule: Kind) -> tuple[NodeTable, _Index]:
    import pyarrow as pa
    import pyarrow.compute as pc

    path = folder / f"{stem}_{kind}.csv"
    wanted = list(dict.fromkeys(["BioMedGraphica_ID", *rule.ids, *rule.names, *(rule.texts or {}).values()]))
    rows = read_csv(path, wanted, also={"BioMedGraphica_ID": f"{stem}_ID", **_ALSO})
    given = column(rows, "BioMedGraphica_ID")
    number = _numbers(given, rule.code)
    first = _first_of(number)
    reasons = [("no id", pc.equal(given, "").to_numpy(False)), ("not an id of this type", number < 0)]
    reasons += [("id of an earlier row", ~first)]
    good, rejects = reject_columns(reasons, "BioMedGraphica_ID", given)
    rows, number, given = rows.filter(good), number[good.to_numpy(False)], given.filter(good)
    own = pc.replace_substring(given, "_", ":", max_replacements=1)
    ids, xrefs = _identity(rows, rule, own)
    names = _names(rows, rule, given, folder, stem, kind)
    data: dict[str, Any] = {"id": ids, "name": names[0], "synonyms": names[1], "xrefs": xrefs}
    data["bmg_ids"] = pa.ListArray.from_arrays(pa.array(np.arange(len(own) + 1, dtype=np.int32)), own)
    if rule.label == "Gene":
        symbol = column(rows, "HGNC_Symbol")
        data["symbol"] = pc.if_else(pc.equal(symbol, ""), names[0], symbol)
    elif rule.symbol:
        data["symbol"] = column(rows, rule.symbol)
    for name, source in (rule.texts or {}).items():
        data[name] = column(rows, source)
    said = _sibling(
        folder / f"{stem}_{kind}_Description_Combined.csv", "Description", stem, number, rule.code
    )
    if said is not None:
        data["description"] = said
    node_of = np.full(int(number.max(initial=0)) + 1, -1, np.int32)
    node_of[number] = np.arange(len(number), dtype=np.int32)
    read = len(good)
    lines = pa.array(np.flatnonzero(good.to_numpy(False)) + 1, pa.int32()) if len(rejects) else None
    table = NodeTable("biomedgraphica", kind.lower(), rule.label, pa.table(data), read, 0, rejects, lines)
    return table, _Index(node_of, ids)


def _identity(rows: pa.Table, rule: Kind, own: pa.Array) -> tuple[pa.Array, pa.ListArray]:
    """Ids and the CURIEs of the same things elsewhere."""
    import pyarrow.compute as pc

    ids, parts = None, []
    for place, (name, prefix) in enumerate(rule.ids.items()):
        cells = column(rows, name)
        if name.startswith("NCBI"):
            cells = pc.replace_substring_regex(cells, r"\.0(;|$)", r"\1")
        owner, values = split_cells(cells, ";")
        if prefix:
            values = pc.binary_join_element_wise(prefix, values, ":")
        parts.append((owner, values))
        if place < rule.preferred:
            candidate = _single_and_unique(len(rows), owner, values)
            ids = candidate if ids is None else pc.coalesce(ids, candidate)
    ids = own if ids is None else pc.coalesce(ids, own)
    return ids, fold_lists(len(rows), parts, without=ids)


def _single_and_unique(n: int, owner: npt.NDArray[np.int64], values: pa.Array) -> pa.Array:
    """The value of each row that has one only, which no other row has; null elsewhere."""
    import pyarrow as pa

    codes = values.dictionary_encode().indices.to_numpy()
    alone = (np.bincount(owner, minlength=n)[owner] == 1) & (
        np.bincount(codes)[codes] == 1 if len(codes) else True
    )
    at = np.full(n, -1)
    at[owner[alone]] = np.flatnonzero(alone)
    return values.take(pa.array(at, mask=at < 0))


def _names(
    rows: pa.Table, rule: Kind, given: pa.Array, folder: Path, stem: str, kind: str
) -> tuple[pa.Array, pa.ListArray]:
    """Name: the best that the row has, else its display name, else its id. Synonyms: the others."""
    import pyarrow.compute as pc

    number = _numbers(given, rule.code)
    shown = _sibling(folder / f"{stem}_{kind}_Display_Name.csv", f"BMG_{kind}_Name", stem, number, rule.code)
    name, parts = None, []
    for source in rule.names:
        cells = column(rows, source)
        if source == "UNII_Name":
            owner, values = split_cells(cells, " | ")
        else:
            owner, values = split_cells(cells, ";") if source != "IUPAC_Name" else split_cells(cells, None)
        parts.append((owner, values))
        best = _first_value(len(rows), owner, values)
        name = best if name is None else pc.coalesce(name, best)
    if shown is not None:
        blank = pc.if_else(pc.equal(shown, ""), None, shown)
        name = blank if name is None else pc.coalesce(name, blank)
        parts.append(split_cells(shown, None))
    name = given if name is None else pc.coalesce(name, given)
    return name, fold_lists(len(rows), parts, without=name)


def _first_value(n: int, owner: npt.NDArray[np.int64], values: pa.Array) -> pa.Array:
    import pyarrow as pa

    at = np.full(n, -1)
    at[owner[::-1]] = np.arange(len(owner))[::-1]
    return values.take(pa.array(at, mask=at < 0))


def _sibling(path: Path, name: str, stem: str, number: npt.NDArray[np.int64], code: str) -> pa.Array | None:
    """The second column of a sibling file, in the order of ``number``; None where there is no such file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not path.is_file():
        return None
    rows = read_csv(path, ["BioMedGraphica_ID", name], also={"BioMedGraphica_ID": f"{stem}_ID"})
    theirs = _numbers(column(rows, "BioMedGraphica_ID"), code)
    place = np.full(max(int(number.max(initial=0)), int(theirs.max(initial=0))) + 1, -1)
    place[theirs[theirs >= 0]] = np.flatnonzero(theirs >= 0)
    at = place[number]
    return pc.fill_null(column(rows, name).take(pa.array(at, mask=at < 0)), "")


def _numbers(ids: pa.Array, code: str) -> npt.NDArray[np.int64]:
    """``BMG_GN000017`` -> 17; -1 for what is not an id of this type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    conn = bool(len(ids)) and ids[0].as_py().startswith("BMGC_")
    prefix = f"BMGC_{code}" if conn else f"BMG_{code}"
    digits = pc.utf8_slice_codeunits(ids, len(prefix))
    fits = pc.and_(pc.starts_with(ids, prefix), pc.ascii_is_decimal(digits))
    fits = pc.and_(fits, pc.less_equal(pc.binary_length(digits), 9))
    numbers: npt.NDArray[np.int64] = pc.if_else(fits, digits, "-1").cast(pa.int64()).to_numpy(False)
    return numbers


def _first_of(number: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    first = np.zeros(len(number), bool)
    first[np.unique(number, return_index=True)[1]] = True
    return first | (number < 0)


# --------------------------------------------------------------------------- relations


@dataclass
class _Statements:
    """Good relations of one type, one per resource that states them; numbers of nodes within their types."""

    subject: npt.NDArray[np.int32]
    object: npt.NDArray[np.int32]
    source: npt.NDArray[np.int32]  # index into the resources

    def pairs(self) -> npt.NDArray[np.int64]:
        """Subject and object in one number."""
        return (self.subject.astype(np.int64) << 32) | self.object

    def some(self, which: npt.NDArray[np.bool_]) -> _Statements:
        """The statements that ``which`` marks."""
        return _Statements(self.subject[which], self.object[which], self.source[which])

    def turned(self) -> _Statements:
        """Object to subject."""
        return _Statements(self.object, self.subject, self.source)


def _relations(path: Path, index: Mapping[str, _Index]) -> Iterator[EdgeTable]:
    import pyarrow as pa

    also = {"From_ID": "BMGC_From_ID", "To_ID": "BMGC_To_ID"}
    resources = _Resources()
    good: dict[str, list[_Statements]] = {}
    bad: dict[str, list[pa.Table]] = {}
    columns, codes = ["From_ID", "To_ID", "Type"], ("Source", "Type")
    for first, rows in csv_blocks(path, columns, also, optional=["Source"], codes=codes):
        if "Source" not in rows.column_names:  # some builds of Conn leave it out
            rows = rows.append_column("Source", pa.array([""] * len(rows)).dictionary_encode())
        kinds = rows["Type"].combine_chunks()
        for code, kind in enumerate(kinds.dictionary.to_pylist()):
            at = np.flatnonzero(kinds.indices.to_numpy() == code)
            statements, rejects = _resolve(kind, rows.take(pa.array(at)), at + first + 1, index, resources)
            bad.setdefault(kind if _ends(kind) else "", []).append(rejects)
            if statements is not None:
                good.setdefault(kind, []).append(statements)
    whole = {kind: _joined(good.pop(kind)) for kind in list(good)}
    for kind, parts in bad.items():
        yield from _tables(kind, whole, pa.concat_tables(parts), index, resources)


def _ends(kind: str) -> tuple[str, str] | None:
    left, _, right = kind.partition("-")
    return (left, right) if left in KINDS and right in KINDS else None


class _Resources:
    """Number of each resource, in order of first appearance."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}

    def lists(self, cells: Sequence[str]) -> list[list[int]]:
        """Numbers of the resources that each cell names."""
        named = [sorted({part.strip() for part in cell.split(";")} - {""}) or [RESOURCE] for cell in cells]
        return [[self.number.setdefault(name, len(self.number)) for name in names] for names in named]


def _resolve(
    kind: str,
    rows: pa.Table,
    numbers: npt.NDArray[np.int64],
    index: Mapping[str, _Index],
    resources: _Resources,
) -> tuple[_Statements | None, pa.Table]:
    """Ends of relations as numbers of nodes; rows that have none are rejected with the reason."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = _ends(kind)
    if ends is None:
        values = column(rows, "Type")
        return None, reject_columns([("unknown type", np.ones(len(rows), bool))], "Type", values, numbers)[1]
    found, rejects = [], []
    good = np.ones(len(rows), bool)
    for name, end in zip(("From_ID", "To_ID"), ends, strict=True):
        given = column(rows, name)
        number = _numbers(given, KINDS[end].code)
        node = index[end].find(number)
        reasons = [
            (f"no {name}", good & pc.equal(given, "").to_numpy(False)),
            (f"{name} is not a {end}", good & (number < 0)),
            (f"unknown {name}", good & (node < 0)),
        ]
        fits, refused = reject_columns(reasons, name, given, numbers)
        good &= fits.to_numpy(False)
        found.append(node)
        rejects.append(refused)
    source = rows["Source"].combine_chunks()
    lists = resources.lists(source.dictionary.to_pylist())
    code = source.indices.to_numpy()[good]
    lengths = np.array([len(names) for names in lists], np.int64)[code]
    flat = np.array([number for names in lists for number in names], np.int32)
    starts = np.cumsum([0, *(len(names) for names in lists)])[:-1]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    stated = flat[np.repeat(starts[code], lengths) + within]
    subject, object_ = (np.repeat(node[good], lengths) for node in found)
    return _Statements(subject, object_, stated), pa.concat_tables(rejects)


def _joined(parts: Sequence[_Statements]) -> _Statements:
    return _Statements(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("subject", "object", "source"))
    )


def _tables(
    kind: str,
    whole: Mapping[str, _Statements],
    rejects: pa.Table,
    index: Mapping[str, _Index],
    resources: _Resources,
) -> Iterator[EdgeTable]:
    """Tables of one type; a mirrored type is split into what it repeats and what it adds."""
    statements = whole.get(kind)
    if statements is None:  # nothing but rejected rows
        label = "Protein"
        yield EdgeTable(
            "biomedgraphica",
            kind or "unknown type",
            label,
            "ASSOCIATED_WITH",
            label,
            _no_edges(),
            len(rejects),
            0,
            rejects,
        )
        return
    base = _MIRRORS.get(kind, "")
    repeated = np.zeros(len(statements.subject), bool)
    if base in whole:
        repeated = np.isin(statements.turned().pairs(), whole[base].pairs())
        again = statements.some(repeated).turned()
        yield _edge_table(f"{kind} (mirrored)", base, again, None, index, resources)
    yield _edge_table(kind, kind, statements.some(~repeated), rejects, index, resources)


def _edge_table(
    name: str,
    kind: str,
    statements: _Statements,
    rejects: pa.Table | None,
    index: Mapping[str, _Index],
    resources: _Resources,
) -> EdgeTable:
    import pyarrow as pa

    left, _, right = kind.partition("-")
    n = len(statements.subject)
    verb = _VERBS.get(kind, "ASSOCIATED_WITH")

    def coded(codes: npt.NDArray[np.int32], values: pa.Array) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), values)

    data = {
        "subject": coded(statements.subject, index[left].ids),
        "object": coded(statements.object, index[right].ids),
        "source": coded(statements.source, pa.array(list(resources.number), pa.string())),
    }
    if verb == "ASSOCIATED_WITH":
        data["relation"] = coded(np.zeros(n, np.int32), pa.array([kind]))
    bad = () if rejects is None else rejects
    ends = (KINDS[left].label, verb, KINDS[right].label)
    return EdgeTable("biomedgraphica", name.lower(), *ends, pa.table(data), n + len(bad), 0, bad)


def _no_edges() -> pa.Table:
    import pyarrow as pa

    return pa.table({"subject": pa.array([], pa.string()), "object": pa.array([], pa.string())})
