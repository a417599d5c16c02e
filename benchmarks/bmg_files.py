"""Write the files of BioMedGraphica at any share of their full size, from a seed: the input of two benchmarks.

Columns, prefixes, list separators and counts are those of the published files (11 types, 2,306,921 entities,
27,232,091 relations of 30 types); names, texts and links are made up. Ends of relations are drawn with a
heavy tail; the relation types that are published in both directions are mirrored row by row, Protein-Protein
by the share that its sources mirror. Faulty rows come on top, one per cent of each kind in each table, and
`write` returns how many of each there are, so that a ledger can be checked to the row.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

SEED = 21
FAULTY = 0.01
_BLOCK = 500_000  # relations made and written at a time

ENTITIES = {  # type -> (code, digits, rows)
    "Promoter": ("PM", 6, 230_358),
    "Gene": ("GN", 6, 230_358),
    "Transcript": ("TS", 6, 412_326),
    "Protein": ("PT", 6, 173_978),
    "Pathway": ("PW", 4, 6_793),
    "Drug": ("DG", 6, 273_386),
    "Disease": ("DS", 6, 118_814),
    "Phenotype": ("PH", 5, 19_532),
    "Metabolite": ("MT", 6, 218_335),
    "Microbiota": ("MC", 6, 621_882),
    "Exposure": ("EP", 4, 1_159),
}
RELATIONS = {
    "Protein-Protein": 16_484_820,
    "Drug-Drug": 3_882_582,
    "Metabolite-Protein": 2_804_430,
    "Exposure-Disease": 979_780,
    "Protein-Phenotype": 478_279,
    "Gene-Transcript": 427_810,
    "Exposure-Pathway": 301_448,
    "Pathway-Exposure": 301_448,
    "Promoter-Gene": 230_358,
    "Disease-Phenotype": 181_192,
    "Phenotype-Disease": 181_192,
    "Pathway-Protein": 176_133,
    "Protein-Pathway": 152_912,
    "Transcript-Protein": 152_585,
    "Protein-Disease": 143_394,
    "Drug-Phenotype": 93_826,
    "Drug-Protein": 84_859,
    "Drug-Disease": 39_977,
    "Exposure-Gene": 28_982,
    "Metabolite-Disease": 24_970,
    "Phenotype-Phenotype": 23_427,
    "Microbiota-Disease": 22_371,
    "Metabolite-Pathway": 12_198,
    "Disease-Disease": 12_006,
    "Drug-Metabolite": 3_589,
    "Drug-Pathway": 3_065,
    "Pathway-Drug": 1_795,
    "Metabolite-Metabolite": 931,
    "Drug-Microbiota": 866,
    "Microbiota-Drug": 866,
}
MIRRORS = {"Pathway-Exposure": "Exposure-Pathway", "Phenotype-Disease": "Disease-Phenotype"}
MIRRORS["Microbiota-Drug"] = "Drug-Microbiota"
CHANCE = {"Pathway-Drug": "Drug-Pathway", "Pathway-Protein": "Protein-Pathway"}  # mirrored by chance only
# BioGRID after symmetrising (1,689,574) and STRING (13,193,859): each pair both ways.
MIRRORED_SHARE = {"Protein-Protein": 0.9}
SOURCES = {  # type -> a resource cell for each per cent of the rows
    "Protein-Protein": ["STRING"] * 80 + ["KEGG"] * 12 + ["BioGRID"] * 5 + ["BioGRID;STRING"] * 3,
    "Promoter-Gene": [""] * 100,
    "": ["CTD"] * 60 + ["HPO"] * 35 + ["CTD;DrugBank"] * 5,
}

ENTITY_FAULTS = ("empty id", "malformed id", "repeated id")
RELATION_FAULTS = (
    "unknown From_ID",
    "unknown To_ID",
    "empty From_ID",
    "unknown Type",
    "ids of another Type",
    "repeated row",
)


@dataclass
class Written:
    """What the files hold."""

    entities: dict[str, int] = field(default_factory=dict)  # type -> good rows
    relations: dict[str, int] = field(default_factory=dict)  # type -> good rows, repeated ones not counted
    statements: dict[str, int] = field(default_factory=dict)  # type -> those, times the resources they name
    stored: dict[str, int] = field(default_factory=dict)  # type -> statements, mirrored ones once
    rows: Counter[str] = field(default_factory=Counter)  # table -> rows in the file, faulty ones included
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)  # (table, kind) -> rows


def write(folder: Path, share: float = 1.0, seed: int = SEED) -> Written:
    """Write all files below ``folder``; the same share and seed give the same bytes."""
    rng = np.random.default_rng(seed)
    written = Written()
    sizes = {kind: max(20, round(rows * share)) for kind, (_, _, rows) in ENTITIES.items()}
    sentences = _sentences(rng)
    for kind, n in sizes.items():
        _write_entities(folder, kind, n, rng, sentences, written)
    _write_index(folder, sizes)
    _write_relations(folder, sizes, share, rng, written)
    return written


def write_next_release(folder: Path, out: Path) -> None:
    """Write the release that follows: 1 % of the entities have another display name, 1 % of the relations differ.

    Of every 200 rows of relations, one is missing and one names another resource.
    """
    shutil.copytree(folder / "Entity", out / "Entity", copy_function=os.link, dirs_exist_ok=True)
    for kind in ENTITIES:
        name = f"Entity/{kind}/BioMedGraphica_{kind}_Display_Name.csv"
        rows = pcsv.read_csv(folder / name)
        shown = rows[1].combine_chunks()
        other = pc.binary_join_element_wise(shown, " of release two", "")
        column = pc.if_else(pa.array(np.arange(len(rows)) % 100 == 0), other, shown)
        (out / name).unlink()
        _write(rows.set_column(1, rows.column_names[1], column), out / name)
    path = "Relation/BioMedGraphica_Relation.csv"
    (out / "Relation").mkdir(parents=True, exist_ok=True)
    first = 0
    with (out / path).open("wb") as sink, pcsv.open_csv(folder / path) as blocks:
        sink.write(b"BioMedGraphica_ID,From_ID,To_ID,Source,Type\n")
        for batch in blocks:
            number = np.arange(first, first + len(batch)) % 200
            first += len(batch)
            rows = pa.Table.from_batches([batch])
            source = pc.if_else(pa.array(number == 1), "ReleaseTwo", rows["Source"])
            rows = rows.set_column(3, "Source", source).filter(pa.array(number != 0))
            _append(sink, rows)


# --------------------------------------------------------------------------- entities


def ids(kind: str, numbers: npt.NDArray[np.int64]) -> pa.Array:
    """``BMG_GN000001``: ids of a type by 0-based number."""
    code, digits, _ = ENTITIES[kind]
    return _join(f"BMG_{code}", pc.utf8_lpad(_text(numbers + 1), digits, "0"))


def _write_entities(
    folder: Path, kind: str, n: int, rng: np.random.Generator, sentences: pa.Array, written: Written
) -> None:
    home = folder / "Entity" / kind
    home.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(n)
    columns: dict[str, Any] = {"BioMedGraphica_ID": ids(kind, numbers), **_COLUMNS[kind](numbers, rng)}
    table = pa.table(columns)
    name = f"BioMedGraphica_{kind}"
    bad = max(1, round(n * FAULTY))
    _write(pa.concat_tables([table, *_faulty_entities(table, bad, rng)]), home / f"{name}.csv")
    written.entities[kind] = n
    written.rows[kind] = n + bad * len(ENTITY_FAULTS)
    for fault in ENTITY_FAULTS:
        written.faults[kind, fault] = bad
    shown = _join(f"{kind} ", _text(numbers + 1))
    label = {"Microbiota": "Microbiota"}.get(kind, kind)
    _write(
        pa.table({"BioMedGraphica_ID": table["BioMedGraphica_ID"], f"BMG_{label}_Name": shown}),
        home / f"{name}_Display_Name.csv",
    )
    if kind not in ("Promoter", "Microbiota"):
        said = rng.integers(0, len(sentences), (3, n))
        text = _join(shown, ": ", *(sentences.take(pa.array(s)) for s in said[: 1 + (n % 3 != 0)]))
        _write(
            pa.table({"BioMedGraphica_ID": table["BioMedGraphica_ID"], "Description": text}),
            home / f"{name}_Description_Combined.csv",
        )


def _faulty_entities(table: pa.Table, bad: int, rng: np.random.Generator) -> Iterator[pa.Table]:
    for fault in ENTITY_FAULTS:
        rows = table.take(pa.array(rng.integers(0, len(table), bad)))
        given = rows["BioMedGraphica_ID"].combine_chunks()
        if fault == "empty id":
            given = pa.array([""] * bad)
        elif fault == "malformed id":
            given = _join("BMG-", pc.utf8_slice_codeunits(given, 4))
        yield rows.set_column(0, "BioMedGraphica_ID", given)


def _gene(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    start = rng.integers(1, 200_000_000, len(k))
    ensembl = _join("ENSG", pc.utf8_lpad(_text(k + 1), 11, "0"))
    return {
        "NCBI_Gene_ID": _some(_listed(_text(k + 1), _text(k + 900_000), rng, 0.01), rng, 0.8),
        "Ensembl_Gene_ID_Version": _join(ensembl, ".", _text(rng.integers(1, 20, len(k)))),
        "Gene_Start": _text(start),
        "Gene_End": _text(start + rng.integers(100, 100_000, len(k))),
        "Chromosome": _text(rng.integers(1, 23, len(k))),
        "Gene_Type": pa.array(["protein_coding", "lncRNA", "processed_pseudogene"]).take(pa.array(k % 3)),
        "Ensembl_Gene_ID": ensembl,
        "HGNC_ID": _some(_join("HGNC:", _text(k + 1)), rng, 0.19),
        "Gene_Name": _join("made up gene ", _text(k)),
        "RefSeq_ID": _some(_listed(_join("NR_", _text(k)), _join("NM_", _text(k)), rng, 0.3), rng, 0.4),
        "OMIM_ID": _some(_text(k + 100_000), rng, 0.08),
        "HGNC_Symbol": _some(_join("SYM", _text(k + 1)), rng, 0.19),
    }


def _transcript(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    enst = _join("ENST", pc.utf8_lpad(_text(k + 1), 11, "0"))
    gene = rng.integers(0, len(k) // 2 + 1, len(k))
    return {
        "Ensembl_Transcript_ID": enst,
        "Ensembl_Transcript_ID_Version": _join(enst, ".", _text(rng.integers(1, 9, len(k)))),
        "Ensembl_Gene_ID": _join("ENSG", pc.utf8_lpad(_text(gene + 1), 11, "0")),
        "HGNC_Symbol": _some(_join("SYM", _text(gene + 1)), rng, 0.6),
        "Transcript_Name": _join("SYM", _text(gene + 1), "-", _text(200 + k % 30)),
        "Transcript_Type": pa.array(["protein_coding", "retained_intron"]).take(pa.array(k % 2)),
        "Transcript_Start": _text(k * 100),
        "Transcript_End": _text(k * 100 + 900),
        "Transcription_Start_Site": _text(k * 100),
        "Transcript_Length": _text(rng.integers(200, 9_000, len(k))),
        "Chromosome": _text(rng.integers(1, 23, len(k))),
        "RefSeq_ID": _some(_listed(_join("NM_", _text(k)), _join("XM_", _text(k)), rng, 0.2), rng, 0.3),
        "RNACentral_ID": _some(_join("URS", pc.utf8_lpad(_text(k), 10, "0")), rng, 0.5),
    }


def _protein(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    ensp = _join("ENSP", pc.utf8_lpad(_text(k + 1), 11, "0"))
    return {
        "Uniprot_ID": _some(_join("P", pc.utf8_lpad(_text(k), 6, "0")), rng, 0.9),
        "Ensembl_Protein_ID": _listed(ensp, _join("ENSP9", _text(k + 1_000_000_000)), rng, 0.2),
        "Ensembl_Protein_ID_Version": _join(ensp, ".", _text(rng.integers(1, 9, len(k)))),
        "RefSeq_ID": _some(_join("NP_", _text(k)), rng, 0.4),
        "NCBI_Gene_ID": _some(_join(_text(k // 4 + 1), ".0"), rng, 0.7),
        "UniProt_Name": _join("made up protein ", _text(k)),
        "HGNC_Symbol": _some(_join("SYM", _text(k // 4 + 1)), rng, 0.8),
    }


def _pathway(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    return {
        "PO_ID": _some(_join("PW:", pc.utf8_lpad(_text(k + 1), 7, "0")), rng, 0.4),
        "PO_Name": _some(_join("made up route ", _text(k)), rng, 0.4),
        "KEGG_Name": pa.array([""] * len(k)),
        "Reactome_Name": _join("Made up pathway ", _text(k)),
        "Reactome_ID": _join("R-HSA-", _text(k + 1000)),
        "WikiPathways_Name": pa.array([""] * len(k)),
        "WikiPathways_ID": _some(_join("WP", _text(k)), rng, 0.1),
        "KEGG_ID": _some(_join("hsa", pc.utf8_lpad(_text(k), 5, "0")), rng, 0.05),
    }


def _drug(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    smiles = _join("CC(=O)N", _text(k), "c1ccc(O)cc1")
    many = _join("drug-", _text(k), "|synonym ", _text(k), " of a drug|brand ", _text(k % 997))
    return {
        "PubChem_CID": _some(_text(k + 1), rng, 0.9),
        "PubChem_SID": _some(_listed(_text(k + 10**8), _text(k + 2 * 10**8), rng, 0.5), rng, 0.6),
        "PubChem_Name": _join("made up drug ", _text(k)),
        "CAS_RN": _some(_join(_text(k + 50), "-00-0"), rng, 0.5),
        "IUPAC_Name": _join("2-(", _text(k), "-methylphenyl)ethan-1-amine"),
        "UNII": _some(_join("U", pc.utf8_lpad(_text(k), 9, "0")), rng, 0.3),
        "UNII_Name": _some(_join("DRUG ", _text(k), " | MADE UP ", _text(k)), rng, 0.3),
        "NDC": _some(_join("0001-", _text(k)), rng, 0.02),
        "DrugBank_ID": _some(_join("DB", pc.utf8_lpad(_text(k), 6, "0")), rng, 0.07),
        "DrugBank_Name": _some(_join("Drugname", _text(k)), rng, 0.07),
        "PubChem_Canonical_SMILES": smiles,
        "UNII_SMILES": _some(smiles, rng, 0.3),
        "InChI": _join("InChI=1S/C8H9NO2/c1-6(10)9-7-2-4-8(11)5-3-7/h2-5,11H,1H3,(H,9,10)/", _text(k)),
        "InChIKEY": _join("RZVAJINKPMORJF-", _text(k + 10**9), "-N"),
        "PubChem_Synonym": many,
    }


def _disease(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    return {
        "SNOMEDCT_ID": _some(_text(k + 10**7), rng, 0.5),
        "UMLS_Name": _join("made up disease ", _text(k)),
        "MeSH_Name": _some(_join("Disease, Made Up ", _text(k)), rng, 0.1),
        "ICD11_ID": _some(_join("1A", _text(k)), rng, 0.2),
        "ICD11_Title": _some(_join("Made up disease ", _text(k), ", unspecified"), rng, 0.2),
        "ICD10_ID": _some(_join("A", _text(k)), rng, 0.3),
        "DO_ID": _some(_join("DOID:", _text(k + 1)), rng, 0.1),
        "DO_Name": _some(_join("made up disease ", _text(k)), rng, 0.1),
        "UMLS_ID": _some(
            _listed(_join("C", pc.utf8_lpad(_text(k), 7, "0")), _join("C9", _text(k)), rng, 0.05), rng, 0.9
        ),
        "MeSH_ID": _some(_join("D", pc.utf8_lpad(_text(k), 6, "0")), rng, 0.1),
        "OMIM_ID": _some(_text(k + 200_000), rng, 0.1),
        "MONDO_ID": _some(_join("MONDO:", pc.utf8_lpad(_text(k + 1), 7, "0")), rng, 0.18),
        "MONDO_Name": _some(_join("made up disease ", _text(k)), rng, 0.18),
        "SNOMEDCT_Name": _some(_join("Made up disease ", _text(k), " (disorder)"), rng, 0.5),
    }


def _phenotype(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    return {
        "HPO_ID": _join("HP:", pc.utf8_lpad(_text(k + 1), 7, "0")),
        "HPO_Name": _join("Made up sign ", _text(k)),
        "UMLS_ID": _some(_join("C8", pc.utf8_lpad(_text(k), 6, "0")), rng, 0.7),
    }


def _metabolite(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    return {
        "HMDB_ID": _some(_join("HMDB", pc.utf8_lpad(_text(k), 7, "0")), rng, 0.9),
        "PubChem_CID": _some(_text(k + 10**6), rng, 0.5),
        "CAS_RN": _some(_join(_text(k + 50), "-11-1"), rng, 0.1),
        "ChemSpider_ID": _some(_text(k), rng, 0.1),
        "PDB_ID": _some(_join("M", _text(k)), rng, 0.02),
        "ChEBI_ID": _some(_text(k + 500_000), rng, 0.3),
        "KEGG_ID": _some(_join("C", pc.utf8_lpad(_text(k), 5, "0")), rng, 0.05),
        "HMDB_Name": _join("made up lipid ", _text(k)),
        "ChEBI_Name": _some(_join("made up lipid ", _text(k), "(1-)"), rng, 0.3),
        "IUPAC_Name": _join("(", _text(k), "R)-2-(hexadecanoyloxy)propan-1-ol"),
        "SMILES": _join("CCCCCCCC", _text(k)),
        "InChI": _join("InChI=1S/C37H74O8/", _text(k)),
        "InChIKEY": _join("ABCDEFGHIJKLMN-", _text(k + 10**9), "-N"),
    }


def _microbe(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    return {
        "SILVA_ID": _some(_join("AB", _text(k)), rng, 0.3),
        "Greengenes_ID": _some(_text(k), rng, 0.1),
        "RDP_ID": _some(_join("S", pc.utf8_lpad(_text(k), 9, "0")), rng, 0.3),
        "RNAcentral_ID": _some(_join("URS", pc.utf8_lpad(_text(k), 10, "A")), rng, 0.3),
        "GTDB_ID": _some(_join("GCA_", _text(k)), rng, 0.2),
        "NCBI_Taxonomy_Name": _join("Madeupium number", _text(k)),
        "NCBI_Taxonomy_ID": _text(k + 1),
    }


def _exposure(k: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    return {
        "MeSH_ID": _some(_join("D9", pc.utf8_lpad(_text(k), 6, "0")), rng, 0.9),
        "CAS_RN": _some(_join(_text(k + 50), "-22-2"), rng, 0.6),
        "Exposure_Name": _join("made up dust ", _text(k)),
    }


_COLUMNS = {
    "Promoter": _gene,
    "Gene": _gene,
    "Transcript": _transcript,
    "Protein": _protein,
    "Pathway": _pathway,
    "Drug": _drug,
    "Disease": _disease,
    "Phenotype": _phenotype,
    "Metabolite": _metabolite,
    "Microbiota": _microbe,
    "Exposure": _exposure,
}


def _write_index(folder: Path, sizes: dict[str, int]) -> None:
    parts = [
        pa.table({"BioMedGraphica_ID": ids(kind, np.arange(n)), "Type": pa.array([kind] * n)})
        for kind, n in sizes.items()
    ]
    _write(pa.concat_tables(parts), folder / "Entity" / "BioMedGraphica_Entity.csv")


# --------------------------------------------------------------------------- relations


def _write_relations(
    folder: Path, sizes: dict[str, int], share: float, rng: np.random.Generator, written: Written
) -> None:
    path = folder / "Relation" / "BioMedGraphica_Relation.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs: dict[str, npt.NDArray[np.int64]] = {}
    by_chance: dict[str, npt.NDArray[np.int64]] = {}
    schema = pa.schema(
        [(c, pa.string()) for c in ("BioMedGraphica_ID", "From_ID", "To_ID", "Source", "Type")]
    )
    with path.open("wb") as sink:
        sink.write((",".join(schema.names) + "\n").encode())
        for kind, rows in RELATIONS.items():
            n = max(10, round(rows * share))
            if kind in MIRRORS:
                made = pairs.pop(MIRRORS[kind])[:, ::-1]
            else:
                made = _pairs(kind, n, sizes, rng)
                if kind in MIRRORS.values():
                    pairs[kind] = made
            if kind in CHANCE or kind in CHANCE.values():
                by_chance[kind] = made
            _count(kind, made, written)
            for start in range(0, len(made), _BLOCK):
                _append(sink, _relations(kind, made[start : start + _BLOCK], start))
            for fault in RELATION_FAULTS:
                faulty = _faulty_relations(kind, made, fault, rng)
                written.faults["Relation", fault] += len(faulty)
                written.rows["Relation"] += len(faulty)
                _append(sink, faulty)
    for kind, base in CHANCE.items():
        there = {(b, a) for a, b in by_chance[base].tolist()}
        again = np.array([p for p in by_chance[kind].tolist() if tuple(p) in there], np.int64).reshape(-1, 2)
        written.stored[kind] -= int(_named(kind, again).sum())


def _named(kind: str, made: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many resources the row of each pair names."""
    cells = SOURCES.get(kind, SOURCES[""])
    return np.array([cell.count(";") + 1 for cell in cells], np.int64)[_of_pair(made)]


def _count(kind: str, made: npt.NDArray[np.int64], written: Written) -> None:
    named = _named(kind, made)
    written.relations[kind] = len(made)
    written.statements[kind] = int(named.sum())
    written.rows["Relation"] += len(made)
    if kind in MIRRORS:
        written.stored[kind] = 0
    elif kind in MIRRORED_SHARE:
        low, high = made.min(axis=1), made.max(axis=1)
        _, first = np.unique(low * (1 << 32) + high, return_index=True)
        written.stored[kind] = int(named[first].sum())
    else:
        written.stored[kind] = written.statements[kind]


def _pairs(kind: str, n: int, sizes: dict[str, int], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Distinct (from, to) numbers, shape ``(n, 2)``; fewer where the types have too few entities."""
    left, right = (sizes[end] for end in kind.split("-"))
    if kind == "Promoter-Gene":
        return np.stack([np.arange(min(n, left))] * 2, axis=1)
    n = min(n, left * right // 4)
    wanted = n if kind not in MIRRORED_SHARE else round(n * (1 - MIRRORED_SHARE[kind] / 2))
    keys = np.zeros(0, np.int64)
    while len(keys) < wanted:
        low, high = (_skewed(size, 2 * wanted, rng) for size in (left, right))
        if kind in MIRRORED_SHARE:  # drawn one way only, so that a mirror is one that we made
            low, high = np.minimum(low, high), np.maximum(low, high)
        drawn = low * (1 << 32) + high
        keys = np.unique(np.concatenate([keys, drawn[low != high] if kind in MIRRORED_SHARE else drawn]))
    keys = np.sort(rng.permutation(keys)[:wanted])
    made = np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1)
    return np.concatenate([made, made[: n - wanted, ::-1]])


def _skewed(size: int, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Numbers below ``size`` with a heavy tail: the first tenth are hubs."""
    return np.minimum((size * rng.random(n) ** 2).astype(np.int64), size - 1)


def _relations(kind: str, made: npt.NDArray[np.int64], first: int) -> pa.Table:
    left, right = kind.split("-")
    code = ENTITIES[left][0] + ENTITIES[right][0]
    cells = SOURCES.get(kind, SOURCES[""])
    drawn = _of_pair(made)
    return pa.table(
        {
            "BioMedGraphica_ID": _join(
                f"BMG_ED_{code}", pc.utf8_lpad(_text(np.arange(first + 1, first + 1 + len(made))), 8, "0")
            ),
            "From_ID": ids(left, made[:, 0]),
            "To_ID": ids(right, made[:, 1]),
            "Source": pa.array(cells).take(pa.array(drawn)),
            "Type": pa.array([kind] * len(made)),
        }
    )


def _of_pair(made: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A number below 100 for each pair, the same both ways: a mirrored row names the same resources."""
    return (made.min(axis=1) * 7919 + made.max(axis=1) * 104_729) % 100


def _faulty_relations(
    kind: str, made: npt.NDArray[np.int64], fault: str, rng: np.random.Generator
) -> pa.Table:
    bad = max(1, round(len(made) * FAULTY))
    rows = _relations(kind, made[rng.integers(0, len(made), bad)], 0)
    left, right = kind.split("-")
    beyond = np.arange(bad) + ENTITIES[left][2] + ENTITIES[right][2]
    if fault == "unknown From_ID":
        return rows.set_column(1, "From_ID", ids(left, beyond))
    if fault == "unknown To_ID":
        return rows.set_column(2, "To_ID", ids(right, beyond))
    if fault == "empty From_ID":
        return rows.set_column(1, "From_ID", pa.array([""] * bad))
    if fault == "unknown Type":
        return rows.set_column(4, "Type", pa.array(["Protein-Planet"] * bad))
    if fault == "ids of another Type":
        other = "Microbiota" if left != "Microbiota" else "Exposure"
        return rows.set_column(1, "From_ID", ids(other, np.arange(bad) % 10))
    return rows


# --------------------------------------------------------------------------- columns


def _sentences(rng: np.random.Generator) -> pa.Array:
    """Two thousand made-up sentences of 5 to 40 words."""
    letters = np.array(list("aeioulnrstdmcp"))
    words = ["".join(rng.choice(letters, rng.integers(3, 11))) for _ in range(3_000)]
    return pa.array(
        [" ".join(rng.choice(words, rng.integers(5, 41))).capitalize() + ". " for _ in range(2_000)]
    )


def _text(numbers: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _join(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*(pa.scalar(p) if isinstance(p, str) else p for p in parts), "")


def _some(values: pa.Array, rng: np.random.Generator, share: float) -> pa.Array:
    return pc.if_else(pa.array(rng.random(len(values)) < share), values, "")


def _listed(first: pa.Array, second: pa.Array, rng: np.random.Generator, share: float) -> pa.Array:
    return pc.if_else(pa.array(rng.random(len(first)) < share), _join(first, ";", second), first)


def _write(table: pa.Table, path: Path) -> None:
    pcsv.write_csv(table, path, pcsv.WriteOptions(quoting_style="needed"))


def _append(sink: Any, table: pa.Table) -> None:
    pcsv.write_csv(table, sink, pcsv.WriteOptions(include_header=False, quoting_style="needed"))
