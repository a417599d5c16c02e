"""A graph of a few genes and terms that answers what an add of cells asks, without a server."""

from __future__ import annotations

from typing import Any

from tosg_graph.resources import cypher

TERMS = {"CellType": {"CL:1": "T cell", "CL:2": "B cell"}, "Disease": {"MONDO:1": "lupus", "MONDO:2": "gout"}}


class ToyGraph:
    """Genes G0, G1 ... with ids HGNC:0, HGNC:1 ...; the first have proteins UniProtKB:P0 ...; stands for a `Graph`."""

    def __init__(self, genes: int, proteins: int = 0) -> None:
        self._genes, self._proteins = genes, proteins

    def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        if statement == cypher("axis_genes"):
            nothing = {"ensembl_id": None, "previous": [], "alias": []}
            return [{"id": f"HGNC:{g}", "symbol": f"G{g}", **nothing} for g in range(self._genes)]
        if statement == cypher("axis_proteins"):
            return [
                {
                    "id": f"UniProtKB:P{g}",
                    "name": f"protein {g}",
                    "symbol": f"G{g}",
                    "entry_name": f"G{g}_HUMAN",
                    "synonyms": [],
                    "genes": [f"HGNC:{g}"],
                }
                for g in range(self._proteins)
            ]
        assert statement == cypher("term_names")
        return [{"id": i, "name": n, "synonyms": []} for i, n in TERMS.get(parameters["label"], {}).items()]
