"""Vectors of texts: made once per text, resumed after a kill, replaced when the text has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tosg_graph import embeddings
from tosg_graph.contract import schema_statements
from tosg_graph.embeddings import DEFAULT_ENCODER, EmbeddingCache, embed
from tosg_graph.errors import EmbeddingError
from tosg_graph.graph import Graph
from tosg_graph.text import text_sha

COUNT = 7


class Encoder:
    """Stands for the model: the vector of text ``entity k`` points to axis k; counts what it reads."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Any:
        self.read += texts
        vectors = np.zeros((len(texts), 384), np.float32)
        for row, text in enumerate(texts):
            vectors[row, int(text.split()[-1])] = 1
        return vectors


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    encoder = Encoder()
    monkeypatch.setattr(embeddings, "encode", encoder)
    return encoder


@pytest.fixture
def world(graph: Graph, tmp_path: Path) -> Iterator[Graph]:
    """Entities X:0 .. X:6 with texts ``entity k``, and a cache of their own."""
    rows = [{"id": f"X:{k}", "text": f"entity {k}", "sha": text_sha(f"entity {k}")} for k in range(COUNT)]
    graph.write(
        "UNWIND $rows AS r CREATE (:Entity:Pathway {id: r.id, name: r.id, text: r.text, text_sha: r.sha})",
        rows=rows,
    )
    before = graph.settings
    graph.settings = replace(before, home=tmp_path / "home")
    yield graph
    graph.settings = before


def stored(graph: Graph) -> dict[str, int]:
    """Id -> axis that its vector in the index points to."""
    rows = graph.rows(
        "MATCH (n:Entity) WHERE n.text_embedding IS NOT NULL RETURN n.id AS id, n.text_embedding AS v"
    )
    return {row["id"]: int(np.argmax(row["v"])) for row in rows}


def test_each_entity_gets_the_vector_of_its_text(world: Graph, encoder: Encoder) -> None:
    report = embed(world)
    assert (report.entities, report.embedded, report.from_cache, report.written, report.stale) == (
        7,
        7,
        0,
        7,
        0,
    )
    assert stored(world) == {f"X:{k}": k for k in range(COUNT)}
    row = world.rows("MATCH (n {id: 'X:3'}) RETURN n.embedding_sha AS sha, n.embedding_encoder AS encoder")[0]
    assert row == {"sha": text_sha("entity 3"), "encoder": DEFAULT_ENCODER}


def test_the_vector_index_finds_them(world: Graph, encoder: Encoder) -> None:
    for statement in schema_statements():
        world.write(statement)
    embed(world)
    world.rows("CALL db.awaitIndexes(60)")
    vector = [0.0] * 384
    vector[5] = 1.0
    hits = world.rows(
        "CALL db.index.vector.queryNodes('entity_text_vec', 7, $v) YIELD node, score RETURN node.id AS id, score",
        v=vector,
    )
    assert hits[0] == {"id": "X:5", "score": pytest.approx(1.0)}
    assert [hit["score"] for hit in hits[1:]] == pytest.approx([0.5] * 6)


def test_a_second_run_reads_and_writes_nothing(world: Graph, encoder: Encoder) -> None:
    embed(world)
    encoder.read.clear()
    report = embed(world)
    assert (report.embedded, report.from_cache, report.written) == (0, 7, 0)
    assert encoder.read == []


def test_an_emptied_graph_is_filled_from_the_cache(world: Graph, encoder: Encoder) -> None:
    embed(world)
    world.write("MATCH (n:Entity) REMOVE n.text_embedding, n.embedding_sha, n.embedding_encoder")
    encoder.read.clear()
    report = embed(world)
    assert (report.embedded, report.written) == (0, 7)
    assert encoder.read == []
    assert stored(world)["X:6"] == 6


def test_a_changed_text_is_stale_and_embedded_again(world: Graph, encoder: Encoder) -> None:
    embed(world)
    world.write(
        "MATCH (n {id: 'X:2'}) SET n.text = 'entity 99', n.text_sha = $sha", sha=text_sha("entity 99")
    )
    encoder.read.clear()
    report = embed(world)
    assert (report.embedded, report.written, report.stale) == (1, 1, 1)
    assert encoder.read == ["entity 99"]
    assert stored(world)["X:2"] == 99


def test_equal_texts_are_encoded_once(world: Graph, encoder: Encoder) -> None:
    world.write(
        "CREATE (:Entity:Pathway {id: 'X:7', name: 'twin', text: 'entity 3', text_sha: $sha})",
        sha=text_sha("entity 3"),
    )
    report = embed(world)
    assert (report.entities, report.embedded, report.written) == (8, 7, 8)
    assert stored(world)["X:7"] == 3


@pytest.mark.parametrize(
    ("how", "ids"),
    [
        ({"ids": ["X:5", "X:1", "X:5"]}, {"X:1", "X:5"}),
        ({"query": "MATCH (p:Pathway) WHERE p.id > 'X:4' RETURN p"}, {"X:5", "X:6"}),
        ({"limit": 2}, {"X:0", "X:1"}),
    ],
    ids=["ids", "query", "limit"],
)
def test_some_can_be_chosen(world: Graph, encoder: Encoder, how: dict[str, Any], ids: set[str]) -> None:
    assert embed(world, **how).written == len(ids)
    assert set(stored(world)) == ids


def test_an_interrupted_run_goes_on_where_it_was(
    world: Graph, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_SAVE_EVERY", 2)

    def press(description: str, done: int, _: int | None) -> None:
        if description == "Embedding texts" and done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(world, progress=press)
    assert 2 <= len(encoder.read) <= 4
    kept = len(encoder.read)
    encoder.read.clear()
    report = embed(world)
    # What was saved is not read again; of an unsaved batch at most `_SAVE_EVERY` texts are.
    assert COUNT - kept <= report.embedded <= COUNT - kept + 2
    assert stored(world) == {f"X:{k}": k for k in range(COUNT)}


def test_an_unknown_id_is_named(world: Graph, encoder: Encoder) -> None:
    with pytest.raises(EmbeddingError, match="1 of 2 ids are not in the graph, first 'X:99'"):
        embed(world, ids=["X:1", "X:99"])


def test_a_full_disk_keeps_what_is_there(
    world: Graph, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    embed(world, limit=3)
    folder = EmbeddingCache.open(world.settings.embeddings, DEFAULT_ENCODER).folder
    before = sorted(folder.iterdir())

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(EmbeddingError, match="No space left on device"):
        embed(world)
    assert sorted(folder.iterdir()) == before


# --------------------------------------------------------------------------- the cache alone


def unit(k: int) -> Any:
    vector = np.zeros(384, np.float32)
    vector[k] = 1
    return vector


def test_the_cache_returns_vectors_in_the_order_asked(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, "some/model")
    cache.append(["a", "b"], np.stack([unit(0), unit(1)]), "r1")
    cache.append(["c"], np.stack([unit(2)]), "r1")
    vectors, found = cache.lookup(["c", "x", "a", "c"])
    assert found.tolist() == [True, False, True, True]
    assert vectors.argmax(axis=1).tolist() == [2, 0, 0, 2]
    assert not vectors[1].any()
    assert json.loads((cache.folder / "encoder.json").read_text())["revision"] == "r1"


def test_vectors_of_another_revision_are_not_mixed(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, "model")
    cache.append(["a"], np.stack([unit(0)]), "r1")
    with pytest.raises(EmbeddingError, match="another revision"):
        cache.append(["b"], np.stack([unit(1)]), "r2")
    assert cache.lookup(["b"])[1].tolist() == [False]


def test_half_a_file_of_a_killed_run_is_not_read(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, "model")
    cache.append(["a"], np.stack([unit(4)]), "r1")
    (cache.folder / ".0123.part").write_bytes(b"half")
    assert cache.lookup(["a"])[0].argmax() == 4


# --------------------------------------------------------------------------- the real model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_model_knows_what_is_alike(capfd: pytest.CaptureFixture[str]) -> None:
    texts = ["interferon gamma signaling", "response to type II interferon", "bile acid transport"]
    vectors = embeddings.encode(texts)
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    longer = embeddings.encode(["a much longer text " * 40, *texts])
    assert longer[1:] == pytest.approx(vectors, abs=1e-5)
    assert len(embeddings.model_revision()) == 64
    assert capfd.readouterr().err == ""
