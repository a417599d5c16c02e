"""What is said of donors and samples: assays, development stages, ancestries and qualities, with hierarchy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loaders.ontology import guide_file, hierarchy, read_terms, term_nodes
from tosg_graph.types import Parsed, Source

SOURCE = Source(
    key="attributes",
    title="EFO, HsapDv, HANCESTRO and PATO",
    version="EFO 3.90.0, HsapDv 2025-01-23, HANCESTRO 2025-10-14, PATO 2025-05-14",
    licence="Apache-2.0 AND CC-BY-3.0 AND CC-BY-4.0; EFO, then HsapDv and PATO, then HANCESTRO",
    homepage="https://cellxgene-ontology-guide.readthedocs.io",
    size_mb=1.0,
    files={
        "assays": guide_file("EFO", "v3.90.0"),
        "stages": guide_file("HsapDv", "v2025-01-23"),
        "ancestries": guide_file("HANCESTRO", "v2025-10-14"),
        "qualities": guide_file("PATO", "v2025-05-14"),
    },
    in_demo=False,
    note="EFO's imports were cut, so 2,643 of its terms have no parent; HsapDv does not tell is_a from part_of.",
)

_RELATIONS = {"stages": "is_a or part_of"}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse four ontologies into Attribute nodes and IS_A.

    Parameters
    ----------
    paths
        ``assays``, ``stages``, ``ancestries``, ``qualities``: one ontology each.
    """
    nodes, edges = [], []
    for name in SOURCE.files:
        terms = read_terms(paths[name])
        found = term_nodes("attributes", "Attribute", terms)
        nodes.append(replace(found, name=name))
        kept = found.data["id"].to_pylist()
        parents = hierarchy("attributes", "Attribute", terms, kept, _RELATIONS.get(name, "is_a"))
        edges.append(replace(parents, name=f"{name}_hierarchy"))
    return Parsed(tuple(nodes), tuple(edges))
