"""What each loader makes of its real files: counts, facts known by heart, and where every row went."""

from __future__ import annotations

import gzip
import importlib
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loaders import LOADERS
from loaders.mapping import Mapping
from loaders.ontology import clean, final_replacement, read_terms, term_nodes
from loaders.tables import ROW, arrow, edge_table, node_table, read_json, read_rows, read_text, split_list
from tosg_graph.contract import check
from tosg_graph.downloads import fetch
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Reject

if TYPE_CHECKING:
    from tosg_graph.settings import Settings

ROOT = Path(__file__).parent.parent
DEMO = [key for key, loader in LOADERS.items() if loader.SOURCE.in_demo]
GIVEN = {
    "biomedgraphica",
    "kgx",
    "obo",
    "obograph",
    "hetionet",
    "omnipath",
    "primekg",
    "optimuskg",
    "drkg",
    "string",
    "omnicelltosg",
    "reactome",
}  # any version of somebody's files; tests of their own
MAPPED = [key for key, loader in LOADERS.items() if isinstance(loader, Mapping)]  # see test_shared_tables.py
FULL = [key for key in LOADERS if key not in DEMO and key not in GIVEN and key not in MAPPED]
_CACHE: dict[str, Parsed] = {}


@pytest.fixture(scope="session")
def parsed(settings: Settings) -> Any:
    """Parse a source of the demo graph, once per run."""

    def parse(key: str) -> Parsed:
        if key not in _CACHE:
            _CACHE[key] = LOADERS[key].parse(fetch(LOADERS[key].SOURCE, settings))
        return _CACHE[key]

    return parse


def table(given: Parsed, name: str) -> NodeTable | EdgeTable:
    return next(t for t in _tables(given) if t.name == name)


def node(given: Parsed, name: str, id_: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [r for r in table(given, name).data.to_pylist() if r["id"] == id_]
    assert len(rows) == 1
    return rows[0]


def has_edge(given: Parsed, name: str, subject: str, object_: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [
        r for r in table(given, name).data.to_pylist() if (r["subject"], r["object"]) == (subject, object_)
    ]
    assert rows, f"no {subject} -> {object_}"
    return rows[0]


def reasons(given: Parsed, name: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for reject in table(given, name).rejects:
        found[reject.reason] = found.get(reject.reason, 0) + 1
    return found


# --------------------------------------------------------------------------- true of all


@pytest.mark.parametrize("key", LOADERS)
def test_a_source_says_what_a_reader_must_know(key: str) -> None:
    source = LOADERS[key].SOURCE
    assert source.key == key == LOADERS[key].__name__.removeprefix("loaders.")
    assert source.licence.strip()
    assert source.version.strip()
    assert source.title.strip()
    assert source.homepage.startswith("https://")
    assert source.files
    assert source.note.endswith(".")


@pytest.mark.parametrize("key", DEMO)
def test_every_row_is_accounted_for_and_fits_the_contract(parsed: Any, key: str) -> None:
    given = parsed(key)
    check(given)
    tables = (*given.nodes, *given.edges)
    assert tables
    assert len({t.name for t in tables}) == len(tables)
    for t in tables:
        assert t.source == key
        assert t.merged >= 0
        assert t.read == len(t.data) + t.merged + len(t.rejects)
        assert all(r.reason and r.column for r in t.rejects)


@pytest.mark.parametrize("key", DEMO)
def test_tables_that_leave_rows_out_know_the_rows_of_their_file(parsed: Any, key: str) -> None:
    given = parsed(key)
    for t in (*given.nodes, *given.edges):
        if len(t.rejects) or t.merged:
            assert t.rows is not None, t.name
            assert len(t.rows) == len(t.data)
            assert min(t.rows.to_pylist()) > 0


def test_the_row_of_a_file_is_the_one_that_states_it(parsed: Any, settings: Settings) -> None:
    lines = fetch(LOADERS["hgnc"].SOURCE, settings)["entries"].read_text(encoding="utf-8").splitlines()
    genes = table(parsed("hgnc"), "genes")
    assert genes.rows is not None
    for place in (0, 1000, len(genes.data) - 1):
        assert lines[genes.rows[place].as_py()].startswith(genes.data["id"][place].as_py() + "\t")
    members = table(parsed("wikipathways"), "members")
    assert members.rows is not None
    sets = fetch(LOADERS["wikipathways"].SOURCE, settings)["gmt"].read_text(encoding="utf-8").splitlines()
    for edge, row in zip(members.data.slice(0, 5).to_pylist(), members.rows.to_pylist(), strict=False):
        assert edge["object"].removeprefix("WIKIPATHWAYS:") in sets[row - 1].split("\t")[0]
        assert edge["subject"].removeprefix("NCBIGene:") in sets[row - 1].split("\t")


@pytest.mark.parametrize("key", DEMO)
def test_lists_are_sorted_trimmed_and_whole(parsed: Any, key: str) -> None:
    given = parsed(key)
    for t in (*given.nodes, *given.edges):
        for name in t.data.column_names:
            values = t.data[name].drop_null().to_pylist()
            for value in values:
                parts = value if isinstance(value, list) else [value]
                assert parts == sorted(set(parts)), (t.name, name, value)
                assert all(p == p.strip() and p for p in parts if isinstance(p, str)), (t.name, name, value)


@pytest.mark.parametrize("key", DEMO)
def test_the_stated_size_is_the_size_of_the_files(settings: Settings, key: str) -> None:
    source = LOADERS[key].SOURCE
    size = sum(path.stat().st_size for path in set(fetch(source, settings).values())) / 1e6
    assert source.size_mb == pytest.approx(size, rel=0.25, abs=0.01)


def test_the_demo_graph_reaches_its_floor(parsed: Any) -> None:
    def count(key: str, name: str) -> int:
        return len(table(parsed(key), name).data)

    assert count("hgnc", "genes") >= 40_000
    assert count("hgnc", "proteins") >= 19_000
    assert count("wikipathways", "pathways") >= 600
    assert count("wikipathways", "members") >= 20_000
    pairs = table(parsed("liana"), "pairs").data
    distinct = set(zip(pairs["subject"].to_pylist(), pairs["object"].to_pylist(), strict=True))
    assert len(distinct) >= 4_000
    assert sum(len(t.data) for t in parsed("go_annotations").edges) >= 200_000
    described = {
        term
        for key in ("mondo", "cl", "uberon", "chebi")
        for row in table(parsed(key), "terms").data.select(["id", "description"]).to_pylist()
        if row["description"]
        for term in [row["id"]]
    }
    assert len(described) >= 50_000
    targets = set(table(parsed("drug_targets"), "targets").data["object"].to_pylist())
    assert len(targets) >= 150
    assert count("gene_disease", "pairs") >= 100
    assert count("signaling", "steps") >= 100


# --------------------------------------------------------------------------- facts known by heart


def test_hgnc(parsed: Any) -> None:
    given = parsed("hgnc")
    stat1 = node(given, "genes", "HGNC:11362")
    assert (stat1["name"], stat1["symbol"], stat1["ensembl_id"]) == ("STAT1", "STAT1", "ENSG00000115415")
    assert stat1["full_name"] == "signal transducer and activator of transcription 1"
    assert {"NCBIGene:6772", "ENSEMBL:ENSG00000115415", "UniProtKB:P42224"} <= set(stat1["xrefs"])
    assert stat1["alias_symbols"] == ["ISGF-3", "STAT91"]
    assert node(given, "proteins", "UniProtKB:P42224")["symbol"] == "STAT1"
    has_edge(given, "encodes", "HGNC:11362", "UniProtKB:P42224")
    assert "HGNC:6" in node(given, "genes", "HGNC:12469")["xrefs"]  # A1S9T, withdrawn
    genes, listed = table(given, "genes"), reasons(given, "genes")
    assert (genes.read, len(genes.data), genes.merged) == (49013, 43837, 3326)
    assert listed.pop("withdrawn: Entry Withdrawn") == 1795
    assert listed.pop("withdrawn: merged into an id that is not approved") == 39
    assert sum(listed.values()) == 16
    assert all(reason.startswith("withdrawn: split into HGNC:") for reason in listed)


def test_a_protein_of_several_genes_claims_no_symbol(parsed: Any) -> None:
    given = parsed("hgnc")
    histone = node(given, "proteins", "UniProtKB:P62805")
    assert histone["symbol"] is None
    assert histone["name"].startswith("H4C1/H4C11/")
    encodes = table(given, "encodes").data["object"].to_pylist()
    assert encodes.count("UniProtKB:P62805") == 14


def test_uniprot_agrees_with_hgnc_on_names(parsed: Any) -> None:
    named = {r["id"]: r["name"] for r in table(parsed("hgnc"), "proteins").data.to_pylist()}
    rows = table(parsed("uniprot"), "proteins").data.to_pylist()
    assert len(rows) > 20_000
    assert next(r for r in rows if r["id"] == "UniProtKB:P42224")["entry_name"] == "STAT1_HUMAN"
    assert {r["entry_name"].rpartition("_")[2] for r in rows} == {"HUMAN"}
    assert all(r["name"] == named.get(r["id"], r["entry_name"]) for r in rows)


def test_wikipathways(parsed: Any) -> None:
    given = parsed("wikipathways")
    pathway = node(given, "pathways", "WIKIPATHWAYS:WP585")
    assert pathway["name"] == "Interferon type I signaling pathways"
    assert re.fullmatch(r"r\d+", pathway["revision"])
    has_edge(given, "members", "NCBIGene:6772", "WIKIPATHWAYS:WP585")  # STAT1


def test_famplex(parsed: Any) -> None:
    has_edge(parsed("famplex"), "is_a_gene", "HGNC:3288", "FPLX:EIF4EBP")
    assert reasons(parsed("famplex"), "is_a_gene") == {"not an approved symbol": 1}


def test_liana_keeps_direction_resource_and_complex(parsed: Any) -> None:
    given = parsed("liana")
    rows = table(given, "pairs").data.to_pylist()
    il6 = {
        r["resource"] for r in rows if (r["subject"], r["object"]) == ("UniProtKB:P05231", "UniProtKB:P08887")
    }
    assert {"cellphonedb", "guide2pharma"} <= il6  # IL6 to IL6R, not the reverse
    back = {
        r["resource"] for r in rows if (r["subject"], r["object"]) == ("UniProtKB:P08887", "UniProtKB:P05231")
    }
    assert not back
    members = [r for r in rows if r["complex"] and "COMPLEX:P04626_P21860" in r["complex"]]
    receptors = {r["object"] for r in members if r["subject"] == "UniProtKB:O14511"}
    assert {"UniProtKB:P04626", "UniProtKB:P21860"} <= receptors  # ERBB2 and ERBB3, for NRG2
    assert "mouseconsensus" not in {r["resource"] for r in rows}
    assert reasons(given, "pairs") == {"mouse": 3989, "consensus row that another resource states": 4581}


def test_go(parsed: Any) -> None:
    given = parsed("go")
    assert node(given, "biological_process", "GO:0007165")["name"] == "signal transduction"
    assert node(given, "molecular_function", "GO:0004713")["name"] == "protein tyrosine kinase activity"
    assert node(given, "cellular_component", "GO:0005634")["name"] == "nucleus"
    has_edge(given, "is_a_cellular_component", "GO:0005634", "GO:0043231")
    crossing = next(t for t in given.edges if t.name == "part_of_molecular_function_biological_process")
    assert (crossing.subject_label, crossing.verb, crossing.object_label) == (
        "MolecularFunction",
        "PART_OF",
        "BiologicalProcess",
    )


def test_go_annotations(parsed: Any) -> None:
    given = parsed("go_annotations")
    nucleus = has_edge(given, "located_in", "NCBIGene:6772", "GO:0005634")
    assert "IDA" in nucleus["evidence"]
    assert not any("ND" in e for t in given.edges for e in t.data["evidence"].to_pylist())
    has_edge(given, "enables", "NCBIGene:6772", "GO:0003700")


def test_go_annotations_are_those_of_the_shared_table(parsed: Any, shared_data: Path) -> None:
    with gzip.open(shared_data / "kg/org_hs_eg/gene2go.tsv.gz", "rt") as lines:
        next(lines)
        theirs = {
            (f"NCBIGene:{g}", t, e) for g, t, e, _ in (x.rstrip("\n").split("\t") for x in lines) if e != "ND"
        }
    ours = {
        (r["subject"], r["object"], code)
        for t in parsed("go_annotations").edges
        for r in t.data.to_pylist()
        for code in r["evidence"]
    }
    assert ours == theirs


def test_annotated_terms_and_genes_are_known(parsed: Any) -> None:
    terms = {i for t in parsed("go").nodes for i in t.data["id"].to_pylist()}
    terms |= {x for t in parsed("go").nodes for xs in t.data["xrefs"].drop_null().to_pylist() for x in xs}
    genes = {x for xs in table(parsed("hgnc"), "genes").data["xrefs"].drop_null().to_pylist() for x in xs}
    rows = [
        r for t in parsed("go_annotations").edges for r in t.data.select(["subject", "object"]).to_pylist()
    ]
    known = sum(r["subject"] in genes and r["object"] in terms for r in rows)
    assert known >= 200_000
    assert known / len(rows) > 0.97


@pytest.mark.parametrize(
    ("key", "term", "name", "parent"),
    [
        ("mondo", "MONDO:0007915", "systemic lupus erythematosus", None),
        ("mondo", "MONDO:0005148", "type 2 diabetes mellitus", "MONDO:0005015"),
        ("cl", "CL:0000084", "T cell", "CL:0000542"),
        ("uberon", "UBERON:0002048", "lung", "UBERON:0000171"),
        ("chebi", "CHEBI:15377", "water", "CHEBI:5585"),
    ],
)
def test_ontology_terms(parsed: Any, key: str, term: str, name: str, parent: str | None) -> None:
    given = parsed(key)
    row = node(given, "terms", term)
    assert row["name"] == name
    assert row["description"]
    if parent and key != "chebi":
        has_edge(given, "hierarchy", term, parent)


@pytest.mark.parametrize("key", ["mondo", "cl", "uberon", "chebi"])
def test_obsolete_terms_are_not_nodes_but_lead_to_their_replacement(
    settings: Settings, parsed: Any, key: str
) -> None:
    terms = read_terms(fetch(LOADERS[key].SOURCE, settings)["terms"])
    rows = {r["id"]: r for r in table(parsed(key), "terms").data.to_pylist()}
    obsolete = [t for t, fields in terms.items() if fields["deprecated"]]
    assert obsolete
    assert not set(obsolete) & set(rows)
    led = 0
    for term in obsolete:
        target = final_replacement(terms, term)
        if target in rows:
            assert term in rows[target]["xrefs"]
            led += 1
    assert led > 100


def test_mondo_has_cross_references(parsed: Any) -> None:
    xrefs = set(node(parsed("mondo"), "terms", "MONDO:0007915")["xrefs"])
    assert {"DOID:9074", "MESH:D008180"} <= xrefs


def test_uberon_does_not_claim_is_a(parsed: Any) -> None:
    kinds = set(table(parsed("uberon"), "hierarchy").data["relation"].to_pylist())
    assert kinds == {"is_a or part_of"}


def test_chebi_definitions_are_plain_text(parsed: Any) -> None:
    text = "\n".join(table(parsed("chebi"), "terms").data["description"].drop_null().to_pylist())
    assert not re.search(r"</?(i|b|em|sub|sup|small|a|p|br)>", text, re.I)


def test_chebi_drugs_are_metabolites_too_and_come_from_free_mappings(parsed: Any) -> None:
    given = parsed("chebi")
    drugs = {r["id"]: r for r in table(given, "drugs").data.to_pylist()}
    assert set(drugs) <= set(table(given, "terms").data["id"].to_pylist())
    imatinib = drugs["CHEBI:45783"]
    assert (imatinib["name"], imatinib["approved"]) == ("imatinib", True)
    assert imatinib["xrefs"] == ["DRUGBANK:DB00619"]
    assert reasons(given, "drugs") == {"taken from the licensed DrugBank file": 26_269}
    curated = set(table(parsed("drug_targets"), "targets").data["subject"].to_pylist())
    assert curated <= set(drugs)


def test_pathway_disease_links_say_how_they_were_found(parsed: Any) -> None:
    given = parsed("pathway_disease")
    assert LOADERS["pathway_disease"].SOURCE.knowledge_level == "prediction"
    assert set(table(given, "matches").data["relation"].to_pylist()) == {"label match", "synonym match"}
    names = {r["id"]: r["name"] for r in table(parsed("wikipathways"), "pathways").data.to_pylist()}
    diseases = {r["id"]: r for r in table(parsed("mondo"), "terms").data.to_pylist()}
    for row in table(given, "matches").data.to_pylist():
        disease = diseases[row["object"]]
        told = [disease["name"]] if row["relation"] == "label match" else disease["synonyms"]
        plain = [re.sub(r"[^0-9a-z]+", " ", t.lower()).strip() for t in [names[row["subject"]], *told]]
        assert any(f" {t} " in f" {plain[0]} " for t in plain[1:]), (plain[0], disease["name"])


def test_pathway_disease_takes_the_longest_name_and_no_characteristic(parsed: Any) -> None:
    rows = table(parsed("pathway_disease"), "matches").data.to_pylist()
    names = {r["id"]: r["name"] for r in table(parsed("wikipathways"), "pathways").data.to_pylist()}
    breast = {r["object"] for r in rows if names[r["subject"]] == "Breast cancer pathway"}
    assert breast == {"MONDO:0007254"}  # breast cancer, not cancer
    assert not {
        r["object"] for r in rows if names[r["subject"]] == "Common pathways underlying drug addiction"
    }


# --------------------------------------------------------------------------- full tables


@pytest.fixture(scope="session")
def full(settings: Settings, shared_data: Path) -> Any:
    def parse(key: str) -> Parsed:
        if key not in _CACHE:
            folder = shared_data / "kg" / key
            if not folder.is_dir():  # its tables lie in a folder of another name
                folder = shared_data / "kg"
            _CACHE[key] = LOADERS[key].parse(fetch(LOADERS[key].SOURCE, settings, path=folder))
        return _CACHE[key]

    return parse


@pytest.mark.parametrize("key", FULL)
def test_every_row_of_a_full_table_is_accounted_for(full: Any, key: str) -> None:
    check(full(key))
    for t in (*full(key).nodes, *full(key).edges):
        assert t.read == len(t.data) + t.merged + len(t.rejects)


def test_drugcentral(full: Any) -> None:
    given = full("drugcentral")
    assert len(table(given, "targets").data) == 2155
    assert reasons(given, "targets") == {"not a human gene": 836}
    assert reasons(given, "indications") == {"stated not to be an indication": 25}
    assert has_edge(given, "targets", "CHEBI:45783", "NCBIGene:25")["action"] == "inhibitor"  # imatinib, ABL1
    kinds = table(given, "indications").data["kind"].to_pylist()
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "disease modifying": 359,
        "symptomatic": 77,
        "not classified": 210,
    }
    has_edge(given, "indications", "CHEBI:53289", "DOID:10652")  # donepezil, Alzheimer's disease


def test_bindingdb(full: Any) -> None:
    given = full("bindingdb")
    assert reasons(given, "affinities")["no binding up to 10 uM"] == 8334
    values = table(given, "affinities").data["affinity_nm"].to_pylist()
    assert 0 < min(values) <= max(values) <= 10_000
    subjects = {r["subject"] for r in table(given, "affinities").data.to_pylist()}
    assert subjects <= set(table(given, "drugs").data["id"].to_pylist())


def test_diseases(full: Any) -> None:
    given = full("diseases")
    assert reasons(given, "knowledge")["ICD10 code, not a DOID"] == 24_109
    assert has_edge(given, "knowledge", "HGNC:1884", "DOID:1485")["score"] >= 4  # CFTR, cystic fibrosis
    assert all(o.startswith("DOID:") for o in table(given, "knowledge").data["object"].to_pylist())


# --------------------------------------------------------------------------- row order and bad input


@pytest.mark.parametrize(
    "key", ["hgnc", "wikipathways", "liana", "drug_targets", "gene_disease", "signaling"]
)
def test_the_order_of_rows_in_a_file_does_not_matter(settings: Settings, tmp_path: Path, key: str) -> None:
    loader = LOADERS[key]
    paths = fetch(loader.SOURCE, settings)
    shuffled: dict[str, Path] = {}
    for name, path in paths.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        first = [] if key == "wikipathways" else [lines.pop(0)]
        random.Random(7).shuffle(lines)
        shuffled[name] = tmp_path / path.name
        shuffled[name].write_text("\n".join([*first, *lines]) + "\n", encoding="utf-8")
    for a, b in zip(_tables(loader.parse(paths)), _tables(loader.parse(shuffled)), strict=True):
        assert a.data.equals(b.data)
        assert (a.read, a.merged, len(a.rejects)) == (b.read, b.merged, len(b.rejects))


def _tables(given: Parsed) -> list[NodeTable | EdgeTable]:
    return [*given.nodes, *given.edges]


def test_a_missing_column_is_named(settings: Settings, tmp_path: Path) -> None:
    lines = fetch(LOADERS["hgnc"].SOURCE, settings)["entries"].read_text(encoding="utf-8").splitlines()[:3]
    broken = tmp_path / "hgnc_entries.tsv"
    broken.write_text(
        "\n".join([lines[0].replace("Approved symbol", "Symbol"), *lines[1:]]), encoding="utf-8"
    )
    with pytest.raises(LoadError, match=r"hgnc_entries\.tsv: line 1 has no column 'Approved symbol'"):
        LOADERS["hgnc"].parse({"entries": broken})


def test_a_short_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n3\n", encoding="utf-8")
    with pytest.raises(LoadError, match=r"t\.tsv: line 3 has 1 fields, not 2; .* column 'a'"):
        list(read_rows(tmp_path / "t.tsv", ["a"]))


def test_bad_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes(b"a\tb\n1\t2\n\xff\t4\n")
    with pytest.raises(LoadError, match=r"t\.tsv: line 3, byte 1 is not UTF-8"):
        list(read_rows(tmp_path / "t.tsv", ["a"]))


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv.gz"
    with gzip.open(path, "wt") as out:
        out.write("a\tb\n" + "".join(f"{i}\t{i * 7919 % 1009}\n" for i in range(20_000)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(LoadError, match=r"t\.tsv\.gz: cannot be read after line \d+"):
        list(read_rows(path, ["a"]))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"none\.tsv: cannot be read"):
        list(read_text(tmp_path / "none.tsv"))


@pytest.mark.parametrize("content", [b"\x28\xb5\x2f\xfdgarbage", b"not zstd"])
def test_a_damaged_ontology_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "CL-ontology-x.json.zst"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=r"CL-ontology-x\.json\.zst: cannot be read"):
        read_terms(path)


def test_a_truncated_ontology_is_named(settings: Settings, tmp_path: Path) -> None:
    whole = fetch(LOADERS["cl"].SOURCE, settings)["terms"]
    path = tmp_path / whole.name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(LoadError, match=re.escape(path.name)):
        LOADERS["cl"].parse({"terms": path})


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "go.json").write_text('[{"id": 1},\n {"id" 2}]', encoding="utf-8")
    with pytest.raises(LoadError, match=r"go\.json: line 2, column \d+ is not JSON"):
        read_json(tmp_path / "go.json")


def test_a_gmt_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.gmt").write_text("HALLMARK_X\turl\tTP53\n", encoding="utf-8")
    with pytest.raises(
        LoadError, match=r"other\.gmt: line 1, field 1 'HALLMARK_X' is not name%date%id%species"
    ):
        LOADERS["wikipathways"].parse({"gmt": tmp_path / "other.gmt"})


def test_other_species_repeated_members_and_trailing_tabs_in_a_gmt(tmp_path: Path) -> None:
    gmt = tmp_path / "t.gmt"
    gmt.write_text(
        "A%WP_1%WP1%Homo sapiens\thttp://x/WP1_r2\t10\t11\t10\t\t\nB%WP_1%WP2%Mus musculus\thttp://x/WP2_r3\t12\n"
        "C%WP_1%WP3%Homo sapiens\thttp://x/WP3_r4\tTP53\n",
        encoding="utf-8",
    )
    given = LOADERS["wikipathways"].parse({"gmt": gmt})
    pathways, members = table(given, "pathways"), table(given, "members")
    assert (pathways.read, len(pathways.data)) == (3, 2)
    assert pathways.rejects == (Reject(2, "species", "Mus musculus", "not human"),)
    assert (members.read, len(members.data), members.merged) == (4, 2, 1)
    assert members.rejects == (Reject(3, "member", "TP53", "not an NCBI Gene id"),)


def test_the_real_sets_of_many_species(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "kg/pathways/wikipathways.gmt.gz"
    given = LOADERS["wikipathways"].parse({"gmt": path})
    check(given)
    pathways, members = table(given, "pathways"), table(given, "members")
    assert (pathways.read, len(pathways.data), len(pathways.rejects)) == (1317, 299, 1018)
    assert {r.reason for r in pathways.rejects} == {"not human"}
    assert node(given, "pathways", "WIKIPATHWAYS:WP100")["revision"].startswith("r")
    with gzip.open(path, "rt") as lines:
        human = [x.rstrip("\n").split("\t") for x in lines if "%Homo sapiens\t" in x]
    pairs = {(f"NCBIGene:{g}", f"WIKIPATHWAYS:{x[0].split('%')[2]}") for x in human for g in x[2:] if g}
    stored = zip(members.data["subject"].to_pylist(), members.data["object"].to_pylist(), strict=True)
    assert set(stored) == pairs


def test_a_set_of_the_current_release_has_no_revision(tmp_path: Path) -> None:
    gmt = tmp_path / "wikipathways-20260910-gmt-Homo_sapiens.gmt"
    first = "A%WikiPathways_20260910%WP1%Homo sapiens\thttps://www.wikipathways.org/instance/WP1\t10\n"
    gmt.write_text(first, encoding="utf-8")
    found = node(LOADERS["wikipathways"].parse({"gmt": gmt}), "pathways", "WIKIPATHWAYS:WP1")
    assert (found["revision"], found["url"]) == (None, "https://www.wikipathways.org/instance/WP1")


@pytest.mark.parametrize("value", ["", "nan", "-3", "inf"])
def test_an_impossible_affinity_is_refused(
    settings: Settings, shared_data: Path, tmp_path: Path, value: str
) -> None:
    paths = fetch(LOADERS["bindingdb"].SOURCE, settings, path=shared_data / "kg/bindingdb")
    with gzip.open(paths["bindings"], "rt") as lines:
        head, first = next(lines), next(lines)
    fields = first.split("\t")
    fields[2] = value
    broken = tmp_path / "bindings-drugbank-gene.tsv"
    broken.write_text(head + "\t".join(fields), encoding="utf-8")
    with pytest.raises(LoadError, match=r"row 1, column 'affinity_nM', value '"):
        LOADERS["bindingdb"].parse({**paths, "bindings": broken})


def test_a_sign_that_is_none_is_refused(settings: Settings, tmp_path: Path) -> None:
    given = fetch(LOADERS["signaling"].SOURCE, settings)["steps"]
    broken = tmp_path / "signaling.tsv"
    broken.write_text(given.read_text(encoding="utf-8").replace("\t-1\t", "\tminus\t", 1), encoding="utf-8")
    with pytest.raises(LoadError, match=r"column 'sign', value 'minus'"):
        LOADERS["signaling"].parse({"steps": broken})


# --------------------------------------------------------------------------- the small functions


def test_split_list_trims_sorts_and_drops_empty_parts() -> None:
    assert split_list(" b, a,, b ,c,", ",") == ["a", "b", "c"]
    assert split_list("", ",") == []


def test_equal_ids_merge_and_do_not_depend_on_order() -> None:
    rows = [
        {"id": "X:1", "name": "b", "synonyms": ["y"], "description": ""},
        {"id": "X:1", "name": "a", "synonyms": ["x", "y"], "description": "d"},
        {"id": "X:0", "name": "z", "synonyms": [], "description": ""},
    ]
    one = node_table("s", "t", "Gene", rows, read=4, rejects=[Reject(4, "id", "", "no id")])
    two = node_table("s", "t", "Gene", rows[::-1], read=4, rejects=[Reject(1, "id", "", "no id")])
    assert one.data.equals(two.data)
    assert one.data["id"].to_pylist() == ["X:0", "X:1"]
    assert one.data["synonyms"].to_pylist() == [None, ["x", "y"]]
    assert (one.read, one.merged, len(one.rejects)) == (4, 1, 1)


def test_rows_that_merge_have_the_first_row_of_the_file_whose_place_decides_nothing() -> None:
    rows = [{"id": "X:1", "name": "b"}, {"id": "X:1", "name": "a"}, {"id": "X:0", "name": "c"}]
    for order in ([2, 9, 5], [9, 2, 5]):
        made = node_table("s", "t", "Gene", [{ROW: n, **r} for n, r in zip(order, rows, strict=True)], read=3)
        assert made.data.to_pylist() == [{"id": "X:0", "name": "c"}, {"id": "X:1", "name": "a"}]
        assert made.rows is not None
        assert made.rows.to_pylist() == [5, 2]
    assert node_table("s", "t", "Gene", [{ROW: 1, **rows[0]}, rows[2]], read=2).rows is None


def test_edges_are_kept_apart_by_what_the_loader_names() -> None:
    rows = [
        {"subject": "a", "object": "b", "resource": r, "evidence": [e]}
        for r, e in [("x", "e"), ("x", "f"), ("y", "e")]
    ]
    apart = edge_table("s", "t", ("Gene", "LIGAND_OF", "Gene"), rows, read=3, apart=["resource"])
    assert apart.data.select(["resource", "evidence"]).to_pylist() == [
        {"resource": "x", "evidence": ["e", "f"]},
        {"resource": "y", "evidence": ["e"]},
    ]


def test_empty_text_and_lists_are_null() -> None:
    made = arrow([{"id": "a", "name": "", "xrefs": []}, {"id": "b", "sign": 1}])
    assert made.to_pylist() == [
        {"id": "a", "name": None, "xrefs": None, "sign": None},
        {"id": "b", "name": None, "xrefs": None, "sign": 1},
    ]


def test_replacement_chains_end_at_a_live_term_or_nowhere() -> None:
    def term(deprecated: bool, replaced_by: str | None = None) -> dict[str, Any]:
        more = {"replaced_by": replaced_by} if replaced_by else {}
        return {"label": "x", "deprecated": deprecated, "ancestors": {}, **more}

    terms = {
        "A:1": term(True, "A:2"),
        "A:2": term(True, "A:3"),
        "A:3": term(False),
        "A:4": term(True, "A:5"),
        "A:5": term(True, "A:4"),
        "A:6": term(True, "B:1"),
        "A:7": term(True),
    }
    assert [final_replacement(terms, t) for t in ("A:1", "A:2", "A:4", "A:6", "A:7")] == [
        "A:3",
        "A:3",
        None,
        None,
        None,
    ]
    made = term_nodes("s", "CellType", terms)
    assert made.data.to_pylist() == [
        {"id": "A:3", "name": "x", "synonyms": None, "description": None, "xrefs": ["A:1", "A:2"]}
    ]
    assert len(made.rejects) == 6


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a <i>b</i>\n c<sub>2</sub>", "a b c2"),
        ("age <50 years or >60", "age <50 years or >60"),
        ("x < y", "x < y"),
    ],
)
def test_clean_takes_tags_and_leaves_numbers(text: str, plain: str) -> None:
    assert clean(text) == plain


# --------------------------------------------------------------------------- docs/sources.md


def test_the_page_of_sources_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    make_sources_page = importlib.import_module("make_sources_page")

    try:
        page = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
        assert make_sources_page.sources_table() in page, "run python scripts/make_sources_page.py"
    finally:
        sys.modules.pop("make_sources_page", None)
