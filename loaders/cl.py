"""Cell Ontology: cell types with definitions, synonyms and hierarchy."""

from __future__ import annotations

from pathlib import Path

from loaders.ontology import guide_file, hierarchy, read_terms, term_nodes
from tosg_graph.types import Parsed, Source

SOURCE = Source(
    key="cl",
    title="Cell Ontology (CL)",
    version="2026-03-26",
    licence="CC-BY-4.0",
    homepage="https://obofoundry.org/ontology/cl.html",
    size_mb=0.2,
    files={"terms": guide_file("CL", "v2026-03-26")},
    note="The packed file does not tell is_a from part_of, and links no cell type to an organ.",
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse CL into CellType nodes and IS_A.

    Parameters
    ----------
    paths
        ``terms``: ``CL-ontology-<version>.json.zst``.
    """
    terms = read_terms(paths["terms"])
    nodes = term_nodes("cl", "CellType", terms)
    return Parsed(
        (nodes,), (hierarchy("cl", "CellType", terms, nodes.data["id"].to_pylist(), "is_a or part_of"),)
    )
