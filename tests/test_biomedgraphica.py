"""BioMedGraphica's files, made up in their exact format: every row is where the ledger says it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loaders import biomedgraphica
from tosg_graph import contract, ledger
from tosg_graph.errors import LoadError
from tosg_graph.ids import IdResolver
from tosg_graph.merge import merge_edges
from tosg_graph.types import EdgeTable, NodeTable, Parsed

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import bmg_files  # noqa: E402  # the benchmark's generator: one description of the format

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARE = 0.004


def parse(folder: Path, stem: str = "BioMedGraphica") -> Parsed:
    return biomedgraphica.parse({"relations": folder / "Relation" / f"{stem}_Relation.csv"})


def table(parsed: Parsed, name: str) -> Any:
    return next(t for t in (*parsed.nodes, *parsed.edges) if t.name == name)


def reasons(tables: list[NodeTable | EdgeTable]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in tables:
        for reason in each.rejects["reason"].to_pylist() if len(each.rejects) else ():
            found[reason] = found.get(reason, 0) + 1
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bmg_files.Written]:
    folder = tmp_path_factory.mktemp("bmg")
    return folder, bmg_files.write(folder, SHARE)


def test_the_generator_has_the_published_counts() -> None:
    assert sum(rows for _, _, rows in bmg_files.ENTITIES.values()) == 2_306_921
    assert sum(bmg_files.RELATIONS.values()) == 27_232_091


def test_every_row_is_a_node_or_a_reject(made: tuple[Path, bmg_files.Written]) -> None:
    folder, written = made
    parsed = parse(folder)
    contract.check(parsed)
    for nodes in parsed.nodes:
        kind = next(k for k in bmg_files.ENTITIES if k.lower() == nodes.name)
        assert nodes.read == written.rows[kind]
        assert len(nodes.data) == written.entities[kind]
        bad = written.faults[kind, "empty id"]
        assert reasons([nodes]) == {
            "no id": bad,
            "not an id of this type": bad,
            "id of an earlier row": bad,
        }


def test_every_relation_is_stored_once_merged_or_rejected(made: tuple[Path, bmg_files.Written]) -> None:
    folder, written = made
    parsed = parse(folder)
    found = reasons(list(parsed.edges))
    bad = {kind: written.faults["Relation", kind] for kind in bmg_files.RELATION_FAULTS}
    assert sum(n for r, n in found.items() if r.startswith("no ")) == bad["empty From_ID"]
    assert sum(n for r, n in found.items() if r.startswith("unknown From")) == bad["unknown From_ID"]
    assert sum(n for r, n in found.items() if r.startswith("unknown To")) == bad["unknown To_ID"]
    assert found["unknown type"] == bad["unknown Type"]
    assert sum(n for r, n in found.items() if " is not a " in r) == bad["ids of another Type"]
    stored = 0
    for verb in {edges.verb for edges in parsed.edges}:
        of_verb = [edges for edges in parsed.edges if edges.verb == verb]
        accounts = [ledger.open_account(edges) for edges in of_verb]
        stored += len(merge_edges(verb, of_verb, accounts, IdResolver(parsed.nodes)).data)
        assert [account.line().rejected for account in accounts] == [len(e.rejects) for e in of_verb]
    assert stored == sum(written.stored.values())


def test_a_reject_names_the_row_of_the_file(made: tuple[Path, bmg_files.Written]) -> None:
    folder, _ = made
    lines = (folder / "Relation" / "BioMedGraphica_Relation.csv").read_text(encoding="utf-8").splitlines()
    rejects = table(parse(folder), "drug-protein").rejects.to_pylist()
    assert rejects
    for reject in rejects[:20]:
        fields = [f.strip('"') for f in lines[reject["row"]].split(",")]
        assert fields[1 if reject["column"] == "From_ID" else 2] == reject["value"]


# --------------------------------------------------------------------------- by hand


def write(folder: Path, stem: str, changes: Mapping[str, str] | None = None) -> Path:
    """One row per type, and what ``changes`` says: path below the folder -> content."""
    own = f"{stem}_ID"
    code = "BMGC" if stem.endswith("Conn") else "BMG"
    for kind, rule in biomedgraphica.KINDS.items():
        columns = dict.fromkeys([own, *rule.ids, *rule.names, *(rule.texts or {}).values()])
        row = [f"{code}_{rule.code}0001", *([""] * (len(columns) - 1))]
        put(folder, f"Entity/{kind}/{stem}_{kind}.csv", ",".join(columns) + "\n" + ",".join(row) + "\n")
    header = f"{own},{'BMGC_From_ID,BMGC_To_ID' if code == 'BMGC' else 'From_ID,To_ID'},Source,Type\n"
    put(folder, f"Relation/{stem}_Relation.csv", header)
    for name, content in (changes or {}).items():
        put(folder, name, content)
    return folder


def put(folder: Path, name: str, content: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


GENES = (
    "BioMedGraphica_ID,HGNC_ID,Ensembl_Gene_ID,NCBI_ID,RefSeq_ID,OMIM_ID,HGNC_Symbol,Gene_Name,Gene_Type\n"
    'BMG_GN000001,HGNC:5,ENSG1,1438.0,NR_1;NM_1,601,A1BG,"alpha, one",protein_coding\n'
    "BMG_GN000002,HGNC:6;HGNC:7,ENSG2,,,,TWO,two,\n"
    "BMG_GN000003,HGNC:8,ENSG3,,,,THREE,three; tre,\n"
    "BMG_GN000004,HGNC:8,ENSG3,9,,,,,\n"
)


def test_a_node_is_named_by_an_id_that_is_single_and_its_own(tmp_path: Path) -> None:
    write(tmp_path, "BioMedGraphica", {"Entity/Gene/BioMedGraphica_Gene.csv": GENES})
    rows = table(parse(tmp_path), "gene").data.to_pylist()
    assert [row["id"] for row in rows] == ["HGNC:5", "ENSEMBL:ENSG2", "BMG:GN000003", "NCBIGene:9"]
    assert rows[0]["xrefs"] == ["ENSEMBL:ENSG1", "NCBIGene:1438", "RefSeq:NR_1", "RefSeq:NM_1", "OMIM:601"]
    assert [row["name"] for row in rows] == ["A1BG", "TWO", "THREE", "BMG_GN000004"]
    assert [row["synonyms"] for row in rows] == [["alpha, one"], ["two"], ["three", "tre"], []]
    assert rows[3]["xrefs"] == ["HGNC:8", "ENSEMBL:ENSG3"]
    assert [row["bmg_ids"] for row in rows] == [[f"BMG:GN00000{k}"] for k in range(1, 5)]


def test_a_mirrored_row_is_stored_once_and_one_without_its_twin_is_kept(tmp_path: Path) -> None:
    relations = (
        "BioMedGraphica_ID,From_ID,To_ID,Source,Type\n"
        "x,BMG_EP0001,BMG_PW0001,CTD,Exposure-Pathway\n"
        "x,BMG_PW0001,BMG_EP0001,CTD;KEGG,Pathway-Exposure\n"
        "x,BMG_PW0001,BMG_DG0001,,Pathway-Drug\n"
    )
    write(tmp_path, "BioMedGraphica", {"Relation/BioMedGraphica_Relation.csv": relations})
    parsed = parse(tmp_path)
    again = table(parsed, "pathway-exposure (mirrored)")
    assert again.data.select(["subject", "object", "source", "relation"]).to_pylist() == [
        {"subject": "BMG:EP0001", "object": "BMG:PW0001", "source": s, "relation": "Exposure-Pathway"}
        for s in ("CTD", "KEGG")
    ]
    assert len(table(parsed, "pathway-exposure").data) == 0
    alone = table(parsed, "pathway-drug").data.to_pylist()
    assert [(r["subject"], r["object"], r["source"]) for r in alone] == [
        ("BMG:PW0001", "BMG:DG0001", "biomedgraphica")
    ]


def test_conn_has_ids_of_its_own(tmp_path: Path) -> None:
    relations = (
        "BioMedGraphica_Conn_ID,BMGC_From_ID,BMGC_To_ID,Source,Type\n"
        "x,BMGC_GN0001,BMGC_TS0001,Ensembl,Gene-Transcript\n"
        "x,BMG_GN0001,BMGC_TS0001,Ensembl,Gene-Transcript\n"
    )
    write(tmp_path, "BioMedGraphica_Conn", {"Relation/BioMedGraphica_Conn_Relation.csv": relations})
    parsed = parse(tmp_path, "BioMedGraphica_Conn")
    assert table(parsed, "gene").data["id"].to_pylist() == ["BMGC:GN0001"]
    edges = table(parsed, "gene-transcript")
    assert edges.data["subject"].to_pylist() == ["BMGC:GN0001"]
    assert edges.rejects["reason"].to_pylist() == ["From_ID is not a Gene"]


def test_conn_without_sources_is_stated_by_itself(tmp_path: Path) -> None:
    relations = "BMGC_From_ID,BMGC_To_ID,Type\nBMGC_GN0001,BMGC_TS0001,Gene-Transcript\n"
    write(tmp_path, "BioMedGraphica_Conn", {"Relation/BioMedGraphica_Conn_Relation.csv": relations})
    edges = table(parse(tmp_path, "BioMedGraphica_Conn"), "gene-transcript")
    assert edges.data["source"].to_pylist() == ["biomedgraphica"]


def test_conn_of_the_generator_is_the_full_graph_under_its_own_numbers(
    made: tuple[Path, bmg_files.Written], tmp_path: Path
) -> None:
    folder, _ = made
    for path in folder.rglob("*.csv"):
        renamed = tmp_path / str(path.relative_to(folder)).replace("BioMedGraphica_", "BioMedGraphica_Conn_")
        renamed.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8").replace("BMG_", "BMGC_")
        text = text.replace("BioMedGraphica_ID", "BioMedGraphica_Conn_ID").replace("From_ID", "BMGC_From_ID")
        text = text.replace("To_ID", "BMGC_To_ID")
        for kind in biomedgraphica.KINDS:
            text = text.replace(f"BMGC_{kind}_Name", f"BMG_{kind}_Name")
        renamed.write_text(text, encoding="utf-8")
    full, conn = parse(folder), parse(tmp_path, "BioMedGraphica_Conn")
    contract.check(conn)
    assert [t.name for t in (*conn.nodes, *conn.edges)] == [t.name for t in (*full.nodes, *full.edges)]
    for mine, theirs in zip((*conn.nodes, *conn.edges), (*full.nodes, *full.edges), strict=True):
        assert (mine.read, mine.merged, len(mine.rejects)) == (
            theirs.read,
            theirs.merged,
            len(theirs.rejects),
        )
        assert len(mine.data) == len(theirs.data)
    for mine, theirs in zip(conn.nodes, full.nodes, strict=True):
        own = [id_.replace("BMGC:", "BMG:") for id_ in mine.data["id"].to_pylist()]
        assert own == theirs.data["id"].to_pylist()
        assert all(i.startswith("BMGC:") for ids in mine.data["bmg_ids"].to_pylist() for i in ids)
        assert mine.data["xrefs"].equals(theirs.data["xrefs"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("Entity/Drug/BioMedGraphica_Drug.csv", "BioMedGraphica_ID,x\n", "no column 'DrugBank_ID'"),
        ("Relation/BioMedGraphica_Relation.csv", "BioMedGraphica_ID,From_ID\n", "no column 'To_ID'"),
        (
            "Entity/Phenotype/BioMedGraphica_Phenotype.csv",
            "BioMedGraphica_ID,HPO_ID,UMLS_ID,HPO_Name\nBMG_PH0001,HP:1\n",
            "2 fields, not 4",
        ),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    write(tmp_path, "BioMedGraphica", {name: content})
    with pytest.raises(LoadError, match=says):
        parse(tmp_path)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "BioMedGraphica")
    path = tmp_path / "Entity/Phenotype/BioMedGraphica_Phenotype.csv"
    path.write_bytes(
        "BioMedGraphica_ID,HPO_ID,UMLS_ID,HPO_Name\nBMG_PH0001,HP:1,,Fi\u00e8vre\n".encode("latin-1")
    )
    with pytest.raises(LoadError, match=r"UTF-?8"):
        parse(tmp_path)
