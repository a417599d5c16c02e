"""UBERON: organs, tissues and other anatomy with definitions, synonyms and hierarchy."""

from __future__ import annotations

from pathlib import Path

from loaders.ontology import guide_file, hierarchy, read_terms, term_nodes
from tosg_graph.types import Parsed, Source

SOURCE = Source(
    key="uberon",
    title="Uber-anatomy Ontology (UBERON)",
    version="2026-04-01",
    licence="CC-BY-3.0",
    homepage="https://obofoundry.org/ontology/uberon.html",
    size_mb=1.0,
    files={"terms": guide_file("UBERON", "v2026-04-01")},
    note="The packed file does not tell is_a from part_of: parent edges say relation 'is_a or part_of'.",
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse UBERON into Organ nodes and IS_A.

    Parameters
    ----------
    paths
        ``terms``: ``UBERON-ontology-<version>.json.zst``.
    """
    terms = read_terms(paths["terms"])
    nodes = term_nodes("uberon", "Organ", terms)
    edges = hierarchy("uberon", "Organ", terms, nodes.data["id"].to_pylist(), "is_a or part_of")
    return Parsed((nodes,), (edges,))
