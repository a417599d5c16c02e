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
from tosg_graph.embedding_cache import EmbeddingCache
from tosg_graph.embeddings import embed
from tosg_graph.encoders import DEFAULT_ENCODER, open_encoder
from tosg_graph.errors import EmbeddingError
from tosg_graph.graph import Graph
from tosg_graph.text import text_sha
from tosg_graph.vector_index import GraphEncoder, graph_encoder

COUNT = 7


class Fake:
    """Stands for a model: the vector of a text that ends in ``entity k`` points to axis k; counts what it reads."""

    device = "cpu"
    batch = 2
    is_loaded = True

    def __init__(self, name: str = DEFAULT_ENCODER, dimension: int = 384) -> None:
        self.name, self.dimension, self.revision = name, dimension, f"revision of {name}"
        self.folder = Path(name)
        self.read: list[str] = []

    def encode(self, texts: Sequence[str]) -> Any:
        self.read += texts
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            vectors[row, int(text.split()[-1]) % self.dimension] = 1
        return vectors


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The only encoders there are: the default, and ``short``, whose vectors have 16 values."""
    known = {DEFAULT_ENCODER: Fake(), "short": Fake("short", 16)}
    monkeypatch.setattr(embeddings, "open_encoder", known.__getitem__)
    return known[DEFAULT_ENCODER]


@pytest.fixture
def world(graph: Graph, tmp_path: Path) -> Iterator[Graph]:
    """Pathways X:0 .. X:6 called ``entity k``, and a cache of their own."""
    rows = [{"id": f"X:{k}", "name": f"entity {k}"} for k in range(COUNT)]
    graph.write("UNWIND $rows AS r CREATE (:Entity:Pathway {id: r.id, name: r.name})", rows=rows)
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


def test_each_entity_gets_the_vector_of_its_text(world: Graph, encoder: Fake) -> None:
    report = embed(world)
    assert (report.entities, report.annotated, report.embedded, report.from_cache) == (7, 7, 7, 0)
    assert (report.written, report.stale, report.device, report.dimension) == (7, 0, "cpu", 384)
    assert stored(world) == {f"X:{k}": k for k in range(COUNT)}
    row = world.rows("MATCH (n {id: 'X:3'}) RETURN n.embedding_sha AS sha, n.embedding_encoder AS encoder")[0]
    assert row == {"sha": text_sha("Pathway: entity 3"), "encoder": DEFAULT_ENCODER}


def test_the_vector_index_finds_them(world: Graph, encoder: Fake) -> None:
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


def test_a_second_run_reads_and_writes_nothing(world: Graph, encoder: Fake) -> None:
    embed(world)
    encoder.read.clear()
    report = embed(world)
    assert (report.embedded, report.from_cache, report.written) == (0, 7, 0)
    assert encoder.read == []


def test_an_emptied_graph_is_filled_from_the_cache(world: Graph, encoder: Fake) -> None:
    embed(world)
    world.write("MATCH (n:Entity) REMOVE n.text_embedding, n.embedding_sha, n.embedding_encoder")
    encoder.read.clear()
    report = embed(world)
    assert (report.embedded, report.written) == (0, 7)
    assert encoder.read == []
    assert stored(world)["X:6"] == 6


def test_a_changed_text_is_stale_and_embedded_again(world: Graph, encoder: Fake) -> None:
    embed(world)
    world.write("MATCH (n {id: 'X:2'}) SET n.name = 'entity 99', n.annotated = null")
    encoder.read.clear()
    report = embed(world)
    assert (report.annotated, report.embedded, report.written, report.stale) == (1, 1, 1, 1)
    assert encoder.read == ["Pathway: entity 99"]
    assert stored(world)["X:2"] == 99


def test_equal_texts_are_encoded_once(world: Graph, encoder: Fake) -> None:
    world.write("CREATE (:Entity:Pathway {id: 'X:7', name: 'entity 3'})")
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
def test_some_can_be_chosen(world: Graph, encoder: Fake, how: dict[str, Any], ids: set[str]) -> None:
    assert embed(world, **how).written == len(ids)
    assert set(stored(world)) == ids


def test_an_interrupted_run_goes_on_where_it_was(
    world: Graph, encoder: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "_SAVE_BATCHES", 1)

    def press(description: str, done: int, _: int | None) -> None:
        if description == "Embedding texts" and done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(world, progress=press)
    assert 2 <= len(encoder.read) <= 4
    kept = len(encoder.read)
    encoder.read.clear()
    report = embed(world)
    # What was saved is not read again; of an unsaved batch at most a batch is.
    assert COUNT - kept <= report.embedded <= COUNT - kept + 2
    assert stored(world) == {f"X:{k}": k for k in range(COUNT)}


def test_an_unknown_id_is_named(world: Graph, encoder: Fake) -> None:
    with pytest.raises(EmbeddingError, match="1 of 2 ids are not in the graph, first 'X:99'"):
        embed(world, ids=["X:1", "X:99"])


def test_a_full_disk_keeps_what_is_there(
    world: Graph, encoder: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    embed(world, limit=3)
    folder = EmbeddingCache.open(world.settings.embeddings, DEFAULT_ENCODER, encoder.revision).folder
    before = sorted(folder.iterdir())

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(EmbeddingError, match="No space left on device"):
        embed(world)
    assert sorted(folder.iterdir()) == before


# --------------------------------------------------------------------------- one encoder at a time


def index_dimension(graph: Graph) -> int:
    rows = graph.rows(
        "SHOW VECTOR INDEXES YIELD name, options WHERE name = 'entity_text_vec' "
        "RETURN options.indexConfig['vector.dimensions'] AS n"
    )
    return int(rows[0]["n"])


def test_another_encoder_is_refused_unless_it_replaces_all(world: Graph, encoder: Fake) -> None:
    embed(world)
    with pytest.raises(EmbeddingError, match=r"vectors are of all-MiniLM-L6-v2 .* not of short .* --replace"):
        embed(world, encoder="short")
    assert set(stored(world)) == {f"X:{k}" for k in range(COUNT)}
    report = embed(world, encoder="short", replace=True, limit=3)
    assert (report.encoder, report.dimension, report.written) == ("short", 16, 3)
    assert report.index == "7 vectors of another encoder removed; made for 16 dimensions; it had 384"
    assert index_dimension(world) == 16
    assert stored(world) == {"X:0": 0, "X:1": 1, "X:2": 2}
    found = graph_encoder(world)
    assert found == GraphEncoder("short", "revision of short", 16)


def test_without_a_name_the_encoder_of_the_graph_is_used(world: Graph, encoder: Fake) -> None:
    embed(world, encoder="short", limit=2)
    report = embed(world)
    assert (report.encoder, report.embedded, report.written, report.index) == ("short", 5, 5, "kept")
    assert encoder.read == []


def test_a_replacement_that_was_cut_short_is_finished(
    world: Graph, encoder: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(world)

    def press(description: str, *_: object) -> None:
        if description == "Removing vectors":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(world, encoder="short", replace=True, progress=press)
    assert graph_encoder(world) is None  # search leaves vectors out
    report = embed(world, encoder="short")
    assert (report.written, report.index) == (7, "7 vectors of another encoder removed; kept")
    assert stored(world) == {f"X:{k}": k for k in range(COUNT)}
    lengths = world.rows("MATCH (n:Entity) RETURN DISTINCT size(n.text_embedding) AS n")
    assert lengths == [{"n": 16}]
    embed(world, encoder=DEFAULT_ENCODER, replace=True)
    assert index_dimension(world) == 384


# --------------------------------------------------------------------------- the cache alone


def unit(k: int) -> Any:
    vector = np.zeros(384, np.float32)
    vector[k] = 1
    return vector


def test_the_cache_returns_vectors_in_the_order_asked(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, "some/model", "r1")
    cache.append(["a", "b"], np.stack([unit(0), unit(1)]))
    cache.append(["c"], np.stack([unit(2)]))
    vectors, found = cache.lookup(["c", "x", "a", "c"])
    assert found.tolist() == [True, False, True, True]
    assert vectors.argmax(axis=1).tolist() == [2, 0, 0, 2]
    assert not vectors[1].any()
    assert json.loads((cache.folder / "encoder.json").read_text())["revision"] == "r1"


def test_vectors_of_another_revision_are_not_mixed(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, "model", "r1")
    other = EmbeddingCache.open(tmp_path, "model", "r2")  # a folder elsewhere, of the same last name
    cache.append(["a"], np.stack([unit(0)]))
    other.append(["a", "b"], np.stack([unit(1), unit(2)]))
    assert cache.lookup(["a"])[0].argmax() == 0
    assert other.lookup(["a"])[0].argmax() == 1
    assert cache.lookup(["b"])[1].tolist() == [False]
    with pytest.raises(
        EmbeddingError, match=r"of another encoder, revision or length than model gives \(2\)"
    ):
        cache.append(["b"], np.ones((1, 2), np.float32))


def test_a_folder_that_is_named_by_the_encoder_alone_is_used_for_its_revision(tmp_path: Path) -> None:
    EmbeddingCache.open(tmp_path, "model", "r1").append(["a"], np.stack([unit(3)]))
    (tmp_path / "model-r1").rename(tmp_path / "model")
    before = EmbeddingCache.open(tmp_path, "model", "r1")
    assert before.folder == tmp_path / "model"
    assert before.lookup(["a"])[0].argmax() == 3
    assert not EmbeddingCache.open(tmp_path, "model", "r2").exists


def test_vectors_are_16_bit_floats_on_disk_and_32_outside(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    cache = EmbeddingCache.open(tmp_path, "model", "r1")
    given = np.linspace(-1, 1, 2 * 384, dtype=np.float32).reshape(2, 384)
    cache.append(["a", "b"], given)
    (path,) = cache.folder.glob("*.parquet")
    assert str(pq.read_schema(path).field("vector").type) == "fixed_size_list<element: halffloat>[384]"
    vectors = cache.lookup(["b", "a"])[0]
    assert vectors.dtype == np.float32
    assert (vectors == given[::-1].astype(np.float16)).all()
    assert [(s.to_pylist(), v.shape) for s, v in cache.stream(["b", "x"])] == [(["b"], (1, 384))]


@pytest.mark.parametrize("value", [np.nan, 70_000.0], ids=["not a number", "too large"])
def test_what_16_bits_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    cache = EmbeddingCache.open(tmp_path, "model", "r1")
    with pytest.raises(EmbeddingError, match="16-bit"):
        cache.append(["a"], np.full((1, 4), value, np.float32))
    assert not cache.exists


def test_a_cache_of_an_older_version_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model-r1").mkdir()
    old = {"encoder": "model", "revision": "r1", "dimension": 384}
    (tmp_path / "model-r1" / "encoder.json").write_text(json.dumps(old))
    with pytest.raises(
        EmbeddingError, match=r"as float32, .* Move the folder away and run tosg embed"
    ) as refusal:
        EmbeddingCache.open(tmp_path, "model", "r1")
    assert "\n" not in str(refusal.value)


def test_half_a_file_of_a_killed_run_is_not_read(tmp_path: Path) -> None:
    cache = EmbeddingCache.open(tmp_path, "model", "r1")
    cache.append(["a"], np.stack([unit(4)]))
    (cache.folder / ".0123.part").write_bytes(b"half")
    assert cache.lookup(["a"])[0].argmax() == 4


# --------------------------------------------------------------------------- the real model


QUIET = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


@pytest.mark.slow
@QUIET
def test_the_model_knows_what_is_alike(capfd: pytest.CaptureFixture[str]) -> None:
    encoder = open_encoder()
    texts = ["interferon gamma signaling", "response to type II interferon", "bile acid transport"]
    vectors = encoder.encode(texts)
    assert vectors.shape == (3, encoder.dimension) == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    longer = encoder.encode(["a much longer text " * 40, *texts])
    assert longer[1:] == pytest.approx(vectors, abs=1e-5)
    assert len(encoder.revision) == 64
    assert open_encoder() is encoder
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with vectors of 12 values: counts of a few words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import BoW

    folder = tmp_path_factory.mktemp("models") / "tiny"
    words = [f"w{k}" for k in range(11)]
    SentenceTransformer(modules=[BoW([*words, "entity"])], device="cpu").save(str(folder))
    return folder


@pytest.mark.slow
@QUIET
def test_any_model_in_a_folder_can_be_used(world: Graph, tiny: Path) -> None:
    report = embed(world, encoder=str(tiny))
    assert (report.encoder, report.dimension, report.embedded, report.written) == ("tiny", 12, 7, 7)
    assert len(report.revision) == 64
    assert embed(world).encoder == "tiny"  # the graph knows where it is
    assert index_dimension(world) == 12
    embed(world, encoder=DEFAULT_ENCODER, replace=True, limit=1)


def test_what_is_no_model_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmbeddingError, match=r"modules\.json is missing"):
        open_encoder(str(tmp_path / "empty"))
    (tmp_path / "empty" / "modules.json").write_text("[]")
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(EmbeddingError, match="is pickled and is not opened"):
        open_encoder(str(tmp_path / "empty"))
    for name in ("no/such-model", "../elsewhere"):
        with pytest.raises(EmbeddingError, match="No encoder") as refusal:
            open_encoder(name)
        assert "\n" not in str(refusal.value)
