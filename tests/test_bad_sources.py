"""Bad input of each kind through the real command line: one clear line or a ledgered reject, nothing half loaded."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tosg_graph import cli
from tosg_graph.graph import Graph
from tosg_graph.settings import Settings

NODES = "id\tcategory\tname\tdescription\n"
GENE = "biolink:Gene"
EDGES = "subject\tpredicate\tobject\tprimary_knowledge_source\n"
HGNC = (
    "hgnc_id\tsymbol\tname\tstatus\talias_symbol\tentrez_id\tuniprot_ids\tmgd_id\trgd_id\tprev_symbol\t"
    "ensembl_gene_id\tlocus_type\tenzyme_id\tomim_id\trefseq_accession\n"
)
TEN_MB = 10 << 20
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def home(server_graph: Graph, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that loads into this run's server by name; the graph holds three genes, one signal, one release."""
    folder = tmp_path_factory.mktemp("bad-sources")
    with server_graph.driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
    kgx(folder / "good", [gene(1, "ONE"), gene(2, "TWO"), gene(3, "THREE")], [(1, 2)])
    done = run_in(folder / "home", server_graph, "load", "kgx", "--path", str(folder / "good"))
    assert done.exit_code == 0, done.output
    return folder / "home"


@pytest.fixture
def tosg(home: Path, server_graph: Graph) -> Run:
    return lambda *arguments: run_in(home, server_graph, *arguments)


def run_in(home: Path, graph: Graph, *arguments: str) -> Result:
    address = graph.address
    named = {"TOSG_NEO4J_URI": address.uri, "TOSG_NEO4J_USER": address.user}
    env = {
        "TOSG_HOME": str(home),
        "TOSG_CACHE": str(home / "cache"),
        "TOSG_NEO4J_PASSWORD": address.password,
        **named,
    }
    return CliRunner().invoke(cli.main, list(arguments), env=env)


def gene(number: int, name: str, description: str = "") -> str:
    return f"HGNC:{number}\t{GENE}\t{name}\t{description}"


def kgx(folder: Path, nodes: list[str], edges: list[tuple[int, int]] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x_nodes.tsv").write_text(NODES + "".join(f"{row}\n" for row in nodes), encoding="utf-8")
    rows = [f"HGNC:{a}\tbiolink:regulates\tHGNC:{b}\tinfores:toy" for a, b in edges or []]
    (folder / "x_edges.tsv").write_text(EDGES + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def state(graph: Graph) -> dict[str, Any]:
    """What must not change: every entity, every relationship, the releases and the sources."""
    asked = {
        "nodes": "MATCH (n:Entity) RETURN n.id AS id, n.name AS name ORDER BY id",
        "edges": "MATCH (a:Entity)-[r]->(b) RETURN a.id AS a, type(r) AS verb, b.id AS b ORDER BY a, verb, b",
        "releases": "MATCH (r:Release) RETURN r.id AS id ORDER BY id",
        "sources": "MATCH (s:Source) RETURN s.key AS key, s.files AS files ORDER BY key",
        "others": "MATCH (n) WHERE NOT n:Entity AND NOT n:Release AND NOT n:Source RETURN count(n) AS n",
    }
    return {what: graph.rows(statement) for what, statement in asked.items()}


def error(done: Result) -> str:
    assert done.exit_code == 1, done.output
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit), done.exception
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.output
    assert done.stderr.splitlines()[-1] == lines[0]  # nothing after it: the message is one line
    assert len(lines[0]) < 400, lines[0]
    return lines[0]


# --------------------------------------------------------------------------- refused as a whole


def half_gzip(folder: Path) -> tuple[str, Path]:
    kgx(folder, [gene(n, f"N{n}") for n in range(1, 4000)])
    packed = gzip.compress((folder / "x_nodes.tsv").read_bytes())
    (folder / "x_nodes.tsv").unlink()
    (folder / "x_nodes.tsv.gz").write_bytes(packed[: len(packed) // 2])
    return "kgx", folder


def no_gzip(folder: Path) -> tuple[str, Path]:
    kgx(folder, [gene(4, "FOUR")])
    (folder / "x_nodes.tsv").rename(folder / "x_nodes.tsv.gz")
    return "kgx", folder


def wrong_header(folder: Path) -> tuple[str, Path]:
    kgx(folder, [gene(4, "FOUR")])
    text = (folder / "x_nodes.tsv").read_text().replace("category", "kategorie")
    (folder / "x_nodes.tsv").write_text(text)
    return "kgx", folder


def missing_field(folder: Path) -> tuple[str, Path]:
    kgx(folder, [gene(4, "FOUR"), "HGNC:5\tbiolink:Gene"])
    return "kgx", folder


def latin_1(folder: Path) -> tuple[str, Path]:
    kgx(folder, [gene(4, "FOUR"), gene(5, "Größe")])
    text = (folder / "x_nodes.tsv").read_text(encoding="utf-8")
    (folder / "x_nodes.tsv").write_bytes(text.encode("latin-1"))
    return "kgx", folder


def utf_16(folder: Path) -> tuple[str, Path]:
    kgx(folder, [gene(4, "FOUR")])
    (folder / "x_nodes.tsv").write_bytes((folder / "x_nodes.tsv").read_text().encode("utf-16"))
    return "kgx", folder


def huge_field(folder: Path) -> tuple[str, Path]:
    return "kgx", kgx(folder, [gene(4, "FOUR"), gene(5, "FIVE", "long " * (TEN_MB // 5))])


def huge_symbol(folder: Path) -> tuple[str, Path]:
    return "kgx", kgx(folder, [gene(4, "FOUR"), gene(5, "F" * 20_000)])


def control_character(folder: Path) -> tuple[str, Path]:
    return "kgx", kgx(folder, [gene(4, "FOUR"), gene(5, "FI\x00VE")])


def zip_with_dots(folder: Path) -> tuple[str, Path]:
    kgx(folder, [gene(4, "FOUR")])
    with zipfile.ZipFile(folder / "graph.zip", "w") as box:
        for name in ("x_nodes.tsv", "x_edges.tsv"):
            box.write(folder / name, name)
        box.writestr("../../evil.tsv", "evil")
    return "kgx", folder / "graph.zip"


def hgnc_half(folder: Path) -> tuple[str, Path]:
    row = "HGNC:4\tFOUR\tgene four\tApproved" + "\t" * 11 + "\n"
    packed = gzip.compress((HGNC + row * 3000).encode())
    (folder / "hgnc_complete_set.txt.gz").write_bytes(packed[:-20])
    return "hgnc", folder / "hgnc_complete_set.txt.gz"


def hgnc_header(folder: Path) -> tuple[str, Path]:
    (folder / "hgnc_complete_set.txt").write_text(HGNC.replace("symbol\t", "Symbol\t", 1))
    return "hgnc", folder / "hgnc_complete_set.txt"


def hetionet_half(folder: Path) -> tuple[str, Path]:
    graph = {"nodes": [], "edges": [], "metaedge_tuples": [], "pad": [f"{n * n}" for n in range(9000)]}
    packed = bz2.compress(json.dumps(graph).encode())
    (folder / "hetionet-v1.0.json.bz2").write_bytes(packed[: len(packed) // 2])
    return "hetionet", folder


def hetionet_other(folder: Path) -> tuple[str, Path]:
    (folder / "hetionet-v1.0.json").write_text('{"nodes": [], "links": []}')
    return "hetionet", folder


def hetionet_pointer(folder: Path) -> tuple[str, Path]:
    (folder / "hetionet-v1.0.json.bz2").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    return "hetionet", folder


def biomedgraphica_half(folder: Path) -> tuple[str, Path]:
    bmg(folder, genes=["HGNC:4"])
    (folder / "Relation" / "BioMedGraphica_Relation.csv").write_bytes(b'"a\xff')
    return "biomedgraphica", folder


CASES: list[tuple[Callable[[Path], tuple[str, Path]], str]] = [
    (half_gzip, "x_nodes.tsv.gz: cannot be read after line"),
    (no_gzip, "x_nodes.tsv.gz: cannot be read after line 0"),
    (wrong_header, "x_nodes.tsv: line 1 has no column 'category'; it has id, kategorie"),
    (missing_field, "x_nodes.tsv: line 3 has 2 fields, not 4"),
    (latin_1, "x_nodes.tsv: line 3, byte"),
    (utf_16, "is not UTF-8"),
    (huge_field, "row 2, column 'description'"),
    (huge_symbol, "row 2, column 'symbol'"),
    (control_character, "text has no control characters"),
    (zip_with_dots, "graph.zip holds '../../evil.tsv', which leads out of the archive"),
    (hgnc_half, "hgnc_complete_set.txt.gz: cannot be read after line"),
    (hgnc_header, "hgnc_complete_set.txt: line 1 has no column"),
    (hetionet_half, "hetionet-v1.0.json.bz2: cannot be read"),
    (hetionet_other, "has no 'edges'"),
    (hetionet_pointer, "pointer of Git LFS"),
    (biomedgraphica_half, "BioMedGraphica_Relation.csv"),
]


@pytest.mark.parametrize(("make", "says"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_a_bad_file_is_one_line_and_changes_nothing(
    tosg: Run, server_graph: Graph, tmp_path: Path, make: Callable[[Path], tuple[str, Path]], says: str
) -> None:
    before = state(server_graph)
    assert len(before["nodes"]) == 3
    source, path = make(tmp_path)
    assert says in error(tosg("load", source, "--path", str(path)))
    assert state(server_graph) == before
    assert not list(tmp_path.parent.rglob("evil.tsv"))


# --------------------------------------------------------------------------- single rows


def bmg(folder: Path, genes: list[str]) -> Path:
    """BioMedGraphica's files with these genes only."""
    from loaders import biomedgraphica

    for kind, rule in biomedgraphica.KINDS.items():
        columns = dict.fromkeys(["BioMedGraphica_ID", *rule.ids, *rule.names, *(rule.texts or {}).values()])
        rows = [",".join(columns)]
        if kind == "Gene":
            for number in range(1, len(genes) + 1):
                cells = dict.fromkeys(columns, "")
                cells |= {"BioMedGraphica_ID": f"BMG_GN{number:06}", "HGNC_Symbol": f"S{number}"}
                rows.append(",".join(cells[c] for c in columns))
        file = folder / "Entity" / kind / f"BioMedGraphica_{kind}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(rows) + "\n")
    (folder / "Relation").mkdir(exist_ok=True)
    return folder


def rejects(home: Path) -> list[dict[str, Any]]:
    """Rejected rows of the newest load."""
    newest = max((home / "ledgers").glob("*.rejects.parquet"), key=lambda p: p.stat().st_mtime_ns)
    found: list[dict[str, Any]] = pq.read_table(newest).to_pylist()
    return found


INJECTIONS = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("x")', "'=1", "a;b", 'say "no"', "a,b"]


def test_bad_rows_are_ledgered_and_good_ones_loaded(
    tosg: Run, home: Path, server_graph: Graph, tmp_path: Path
) -> None:
    """Semicolons, unknown ends, one id with two values, and cells that a spreadsheet would run."""
    odd = [gene(10 + n, value, f"about {value}") for n, value in enumerate(INJECTIONS)]
    rows = [
        gene(1, "ONE"),
        gene(2, "TWO"),
        gene(2, "ANOTHER TWO"),
        gene(3, "THREE"),
        *odd,
        "SNOMEDCT:1\tbiolink:Gene\tx\t",
    ]
    path = kgx(tmp_path, rows, [(1, 2), (1, 99), (98, 2)])
    done = tosg("load", "kgx", "--path", str(path))
    assert done.exit_code == 0, done.output
    assert "conflicting name, first kept" in done.stdout
    stored = {row["id"]: row for row in state(server_graph)["nodes"]}
    assert {stored[f"HGNC:{10 + n}"]["name"] for n in range(len(INJECTIONS))} == set(INJECTIONS)
    assert stored["HGNC:2"]["name"] == "ANOTHER TWO"  # the first in sorted order, however the file is sorted
    found = {(r["row"], r["column"], r["value"], r["reason"]) for r in rejects(home)}
    assert found == {
        (14, "id", "SNOMEDCT:1", "no id of Gene"),
        (2, "object", "HGNC:99", "not among the nodes"),
        (3, "subject", "HGNC:98", "not among the nodes"),
    }
    ledger = server_graph.rows("MATCH (r:Release) RETURN r.ledger AS ledger ORDER BY r.number DESC LIMIT 1")[
        0
    ]["ledger"]
    lines = json.loads(ledger)
    assert all(x["read"] == x["loaded"] + x["merged"] + x["rejected"] for x in lines)
    asked = "MATCH (g:Gene) WHERE g.description STARTS WITH 'about' RETURN g.name AS name ORDER BY g.id"
    text = tosg("query", asked, "--format", "csv").stdout
    assert [row[0] for row in csv.reader(io.StringIO(text))] == ["name", *INJECTIONS]
    assert json.loads(tosg("query", asked, "--format", "json").stdout) == [{"name": v} for v in INJECTIONS]


def test_another_order_of_the_rows_changes_nothing(tosg: Run, server_graph: Graph, tmp_path: Path) -> None:
    rows = [gene(1, "ONE"), gene(2, "TWO"), gene(2, "ANOTHER TWO")]
    tosg("load", "kgx", "--path", str(kgx(tmp_path, rows, [(1, 2)])))
    before = state(server_graph)
    done = tosg("load", "kgx", "--path", str(kgx(tmp_path, rows[::-1], [(1, 2)])))
    assert done.exit_code == 0, done.output
    assert state(server_graph) == before
