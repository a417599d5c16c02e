"""Lists of cell types, organs and stages that CELLxGENE rolls others up to."""

from __future__ import annotations

from pathlib import Path

from loaders.tables import ROW, Row, node_table, read_json
from tosg_graph.errors import LoadError
from tosg_graph.types import InstalledFile, NodeTable, Parsed, Source

_LISTS = {
    "cell_class": "CellType",
    "cell_subclass": "CellType",
    "organ": "Organ",
    "system": "Organ",
    "tissue_general": "Organ",
    "uberon_development_stage": "Organ",
}


def _file(name: str) -> InstalledFile:
    member = f"cellxgene_ontology_guide/data/{name}_list.json"
    return InstalledFile("cellxgene-ontology-guide", "1.11.1", member, in_folder=f"{name}_list.json*")


SOURCE = Source(
    key="term_lists",
    title="CELLxGENE roll-up lists",
    version="as in cellxgene-ontology-guide 1.11.1",
    licence="MIT",
    homepage="https://cellxgene-ontology-guide.readthedocs.io",
    size_mb=0.005,
    files={name: _file(name) for name in _LISTS},
    in_demo=False,
    note="Only which terms are on which list, as `subsets`; names come from CL and UBERON, so load those too.",
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the lists into CellType and Organ nodes with ``subsets``.

    Parameters
    ----------
    paths
        One JSON list of CURIEs each.
    """
    return Parsed(tuple(_nodes(name, label, paths[name]) for name, label in _LISTS.items()))


def _nodes(name: str, label: str, path: Path) -> NodeTable:
    terms = read_json(path)
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise LoadError(f"{path.name}: is not a JSON list of CURIEs; fetch it again.")
    rows: list[Row] = [
        {ROW: number, "id": term, "name": term, "subsets": [name]}
        for number, term in enumerate(terms, start=1)
    ]
    return node_table("term_lists", name, label, rows, read=len(rows))
