"""Vectors of an OmniCellTOSG folder: each lands on the entity its row names; what does not fit changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tosg_graph.embedding_cache import EmbeddingCache
from tosg_graph.embedding_import import import_embeddings
from tosg_graph.embeddings import embed
from tosg_graph.errors import EmbeddingError
from tosg_graph.graph import Graph
from tosg_graph.vector_index import GraphEncoder, graph_encoder

DIMENSION = 6
# Row k of the folder has the vector 10 k + j at place j. Rows 1 and 4 name one entity, rows 2 and 3 nobody's.
IDS = ["BMG_TS0", "BMG_TS1", "BMG_TS2", "BMG_PT,3", "BMG_PT4", "BMG_PT5"]


def vectors() -> Any:
    return (10 * np.arange(len(IDS))[:, None] + np.arange(1, 1 + DIMENSION)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    quoted = [f'"{i}","a name,\nof two lines"' for i in IDS]
    (tmp_path / "s_desc.csv").write_text("\n".join(["BioMedGraphica_ID,Description", *quoted]) + "\n")
    np.save(tmp_path / "x_desc_emb.npy", vectors())
    return tmp_path


@pytest.fixture
def world(graph: Graph, tmp_path: Path) -> Iterator[Graph]:
    graph.write(
        "CREATE (:Entity:Transcript {id: 'T:0', name: 't0', bmg_ids: ['BMG:TS0', 'BMG:TS99']}), "
        "(:Entity:Transcript {id: 'T:1', name: 't1', bmg_ids: ['BMG:PT4', 'BMG:TS1']}), "
        "(:Entity:Protein {id: 'P:5', name: 'p5', bmg_ids: ['BMG:PT5']}), "
        "(:Entity:Protein {id: 'P:6', name: 'p6', bmg_ids: ['BMG:PT6']}), (:Entity:Gene {id: 'G:7', name: 'g'})"
    )
    before = graph.settings
    graph.settings = replace(before, home=tmp_path / "home")
    yield graph
    graph.settings = before


def stored(graph: Graph) -> dict[str, list[float]]:
    rows = graph.rows(
        "MATCH (n:Entity) WHERE n.text_embedding IS NOT NULL RETURN n.id AS id, n.text_embedding AS v"
    )
    return {row["id"]: row["v"] for row in rows}


def test_each_vector_lands_on_the_entity_its_row_names(world: Graph, folder: Path) -> None:
    report = import_embeddings(world, folder, encoder="their/model", text="desc")
    assert (report.read, report.matched, report.unmatched, report.repeated) == (6, 3, 2, 1)
    assert (report.written, report.dimension, report.encoder) == (3, 6, "their/model")
    assert Path(report.unmatched_list).read_text().splitlines() == [
        '"row","id"',
        '3,"BMG:TS2"',
        '4,"BMG:PT,3"',
    ]
    rows = vectors()
    assert stored(world) == {"T:0": list(rows[0]), "T:1": list(rows[1]), "P:5": list(rows[5])}
    found = graph_encoder(world)
    assert found is not None
    assert (found.name, found.dimension, found.imported) == ("their/model", 6, True)
    shas = {r["id"]: r["sha"] for r in world.rows("MATCH (n:Entity) RETURN n.id AS id, n.text_sha AS sha")}
    cache = EmbeddingCache.open(world.settings.embeddings, found.name, found.revision)  # where exports read
    assert (cache.lookup([shas["P:5"]])[0] == rows[5]).all()
    again = import_embeddings(world, folder, encoder="their/model", text="desc")
    assert (again.matched, again.written, again.index) == (3, 0, "kept")


def test_vectors_of_two_encoders_are_not_mixed(world: Graph, folder: Path) -> None:
    import_embeddings(world, folder, encoder="theirs", text="desc")
    with pytest.raises(EmbeddingError, match="imported as theirs"):
        embed(world)
    with pytest.raises(EmbeddingError, match=r"vectors are of theirs .* not of others"):
        import_embeddings(world, folder, encoder="others", text="desc")
    np.save(folder / "x_desc_emb.npy", vectors() + 1)
    with pytest.raises(EmbeddingError, match=r"vectors are of theirs .* not of theirs"):
        import_embeddings(world, folder, encoder="theirs", text="desc")
    assert stored(world)["T:0"] == list(vectors()[0])
    report = import_embeddings(world, folder, encoder="theirs", text="desc", replace=True)
    assert report.written == 3
    assert stored(world)["T:0"] == list(vectors()[0] + 1)
    report = import_embeddings(world, folder, encoder="others", text="desc", replace=True)
    assert (report.written, report.index) == (3, "3 vectors of another encoder removed; kept")
    assert stored(world)["T:0"] == list(vectors()[0] + 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (vectors()[:5], r"shape \(5, 6\); one row for each of the 6"),
        (vectors()[0], r"shape \(6,\)"),
        (vectors()[:, :0], r"shape \(6, 0\)"),
        (vectors().astype(np.int64), "holds int64"),
        (np.array([["a"] * 6] * 6), "holds <U1"),
        (np.where(vectors() == 23, np.nan, vectors()), "row 3 is all zeros, not finite"),
        (np.where(vectors() == 23, 1e6, vectors()), "row 3 is all zeros, not finite, or above 65,504"),
        (vectors() * (np.arange(6)[:, None] != 4), "row 5 is all zeros"),
    ],
    ids=["too few rows", "one axis", "no columns", "integers", "text", "not a number", "too large", "zeros"],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    world: Graph, folder: Path, given: Any, says: str
) -> None:
    np.save(folder / "x_desc_emb.npy", given)
    with pytest.raises(EmbeddingError, match=says) as refusal:
        import_embeddings(world, folder, encoder="theirs", text="desc")
    assert "\n" not in str(refusal.value)
    assert stored(world) == {}
    assert graph_encoder(world) is None


def test_objects_are_never_unpickled(world: Graph, folder: Path) -> None:
    np.save(folder / "x_desc_emb.npy", np.array([[print] * 2] * 6, object), allow_pickle=True)
    with pytest.raises(
        EmbeddingError, match=r"x_desc_emb\.npy cannot be read: .*(Python objects|allow_pickle)"
    ):
        import_embeddings(world, folder, encoder="theirs", text="desc")


def test_files_that_are_missing_or_of_another_kind_are_named(world: Graph, folder: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"s_name\.csv cannot be read"):
        import_embeddings(world, folder, encoder="theirs", text="name")
    (folder / "s_name.csv").write_text("id,Name\nBMG_TS0,x\n")
    with pytest.raises(EmbeddingError, match="columns id, Name; one called BioMedGraphica_ID or"):
        import_embeddings(world, folder, encoder="theirs", text="name")
    (folder / "s_name.csv").write_text("BioMedGraphica_Conn_ID,Name\nBMGC_TS0,x\n")
    np.save(folder / "x_name_emb.npy", vectors()[:1])
    with pytest.raises(EmbeddingError, match="None of the 1 ids"):
        import_embeddings(world, folder, encoder="theirs", text="name")
    assert graph_encoder(world) is None


def test_the_default_encoder_fits_again(world: Graph, folder: Path) -> None:
    """Leaves the index as the other tests of this run expect it."""
    from tosg_graph.vector_index import claim

    import_embeddings(world, folder, encoder="theirs", text="desc")
    done = claim(world, GraphEncoder("ours", "r", 384), replace=True)
    assert done == "3 vectors of another encoder removed; made for 384 dimensions; it had 6"
    assert stored(world) == {}
