"""The same load again is not parsed, while nothing can have changed what it would do; anything else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from loaders.biomedgraphica import SOURCE as BIOMEDGRAPHICA
from loaders.optimuskg import SOURCE as OPTIMUSKG
from tosg_graph.downloads import describe
from tosg_graph.graph import Graph
from tosg_graph.licences import make_filter
from tosg_graph.load import load
from tosg_graph.platform import Platform
from tosg_graph.recipe import Ingredient, forget, is_kept, lines_of, recipe, remember
from tosg_graph.resources import program_sha256
from tosg_graph.types import LedgerLine, Parsed, Source, UserFile

TOY = Source("toy", "Toy", "1", "CC0-1.0", "https://example.org", 0.0, {"t": UserFile("t.tsv", "")})
LINE = LedgerLine("toy", "genes", 5, 3, 1, 1, 3, 0, {"bad": 1})


def test_anything_that_could_make_another_graph_makes_another_recipe() -> None:
    first = Ingredient(TOY, {"min": "1"})
    loads: list[tuple[list[Ingredient], Any]] = [
        ([first], None),
        ([replace(first, options={"min": "2"})], None),
        ([replace(first, mapping="another yaml")], None),
        ([replace(first, source=replace(TOY, files_read=("t: t.tsv, 3 bytes, sha256 abc",)))], None),
        ([replace(first, source=replace(TOY, version="2"))], None),
        ([first, replace(first, source=replace(TOY, key="other"))], None),
        ([replace(first, source=replace(TOY, key="other")), first], None),
        ([first], make_filter(["toy"], None)),
        ([first], make_filter(None, ["CC0-1.0"])),
    ]
    assert len({recipe(*load_) for load_ in loads}) == len(loads)
    assert recipe(*loads[0]) == recipe([Ingredient(replace(TOY), {"min": "1"})], None)


def test_the_program_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from tosg_graph import recipe as module

    before = recipe([], None)
    module._program.cache_clear()
    monkeypatch.setattr(module, "program_sha256", lambda: "another program")
    assert recipe([], None) != before
    module._program.cache_clear()
    assert len(program_sha256()) == 64


def test_what_is_kept_comes_back_with_nothing_written(tmp_path: Path) -> None:
    from tosg_graph import stated

    folder = tmp_path / "stated"
    name = stated.write(folder, "toy", _nothing(), [])
    stated.settle(folder, "toy", name, "r2")
    remember(folder, "abc", "r2", ["toy"], [LINE])
    assert is_kept(folder, "abc")
    assert lines_of(folder, "abc", ["r3", "r2", "r1"]) == [replace(LINE, created=0)]
    assert lines_of(folder, "abd", ["r2"]) == []  # another recipe
    assert lines_of(folder, "abc", ["r1"]) == []  # another graph
    stated.announce(folder, "toy", "begun.parquet")
    assert lines_of(folder, "abc", ["r2"]) == []  # a load was begun and not ended
    stated.settle(folder, "toy", name, "r3")
    assert lines_of(folder, "abc", ["r3", "r2"]) == []  # loaded again since
    forget(folder)
    assert not is_kept(folder, "abc")
    forget(folder)


def _nothing() -> Any:
    import pyarrow as pa

    kinds = {"id": pa.string(), "label": pa.string(), "hash": pa.uint64(), "own": pa.uint64()}
    return pa.schema(kinds).empty_table()


@pytest.mark.parametrize(
    ("source", "given", "others", "unread"),
    [
        (
            BIOMEDGRAPHICA,
            "Relation/BioMedGraphica_Relation.csv",
            ["Entity/Gene/BioMedGraphica_Gene.csv", "Entity/Drug/BioMedGraphica_Drug_Display_Name.csv"],
            "Entity/BioMedGraphica_Entity.csv",
        ),
        (OPTIMUSKG, "nodes/gene.parquet", ["edges/gene_gene.parquet", "nodes/drug.parquet"], "other.parquet"),
    ],
)
def test_files_that_are_read_with_another_are_described(
    tmp_path: Path, source: Source, given: str, others: list[str], unread: str
) -> None:
    for number, name in enumerate([given, *others, unread]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x" * number)
    key = "relations" if source is BIOMEDGRAPHICA else "by_type"
    lines = describe(source, {key: tmp_path / given})
    assert [line.split(": ")[1].split(",")[0] for line in lines[:1]] == [Path(given).name]
    assert {line.split(": ")[1].split(",")[0] for line in lines} == {Path(n).name for n in (given, *others)}


# --------------------------------------------------------------------------- on the server


def write(folder: Path, genes: int, key: str = "mine") -> Path:
    rows = "".join(f"{number}\tgene {number}\n" for number in range(1, genes + 1))
    (folder / f"{key}.tsv").write_text(f"id\tname\n{rows}", encoding="utf-8")
    table = {"table": "genes", "file": "t", "label": "Gene", "id": "NCBIGene:{id}"}
    content = {
        "key": key,
        "title": "Mine",
        "version": "1",
        "licence": "CC0-1.0",
        "files": {"t": f"{key}.tsv"},
        "nodes": [{**table, "properties": {"name": "{name}"}}],
    }
    path = folder / f"{key}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the sources that were parsed, in order."""
    from loaders.mapping import Mapping

    seen: list[str] = []
    real: Callable[..., Parsed] = Mapping.parse

    def parse(self: Mapping, paths: dict[str, Path]) -> Parsed:
        seen.append(self.SOURCE.key)
        return real(self, paths)

    monkeypatch.setattr(Mapping, "parse", parse)
    return seen


def test_only_the_same_load_into_the_same_graph_is_not_parsed(
    graph: Graph, tmp_path: Path, parses: list[str]
) -> None:
    platform = Platform(graph.settings)
    platform.__dict__["graph"] = graph
    path = str(write(tmp_path, 3))
    graph.write("CREATE (:Elsewhere)")  # not empty: loads are upserts, and the server stays up

    def written(**choices: Any) -> tuple[int, int, int]:
        (line,) = platform.load(path, **choices)
        assert line.read == line.loaded + line.rejected
        return line.created, line.retired, parses.count("mine")

    assert written() == (3, 0, 1)
    release = graph.rows("MATCH (r:Release) RETURN r.id AS id")
    assert written() == (0, 0, 1)
    assert written() == (0, 0, 1)
    assert graph.rows("MATCH (r:Release) RETURN r.id AS id") == release

    graph.write("MATCH (n:Gene {id: 'NCBIGene:2'}) DELETE n")  # by hand
    assert written() == (1, 0, 2)
    assert written() == (0, 0, 2)

    write(tmp_path, 2)  # the file changed
    assert written() == (0, 1, 3)
    assert written(license_allow=["CC0-1.0"]) == (0, 0, 4)  # another choice
    assert written(license_allow=["CC0-1.0"]) == (0, 0, 4)

    platform.load(str(write(tmp_path, 2, "theirs")))  # nodes of another source may join these
    assert written() == (0, 0, 5)
    assert written() == (0, 0, 5)

    source = replace(TOY, key="edges_only")
    load(graph, [(source, Parsed())])
    assert written() == (0, 0, 5)

    kept = next((graph.settings.stated / "recipes").glob("*.json"))
    assert json.loads(kept.read_text())["sources"] == ["mine"]
    graph.write("MATCH (n) WHERE NOT n:Elsewhere DETACH DELETE n")
    assert written() == (2, 0, 6)
