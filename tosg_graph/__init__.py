"""Text-omic signaling graphs: knowledge in Neo4j, cells in Parquet, tensors from a Cypher query.

>>> import tosg_graph as tg
>>> p = tg.open()
>>> p.query("MATCH (g:Gene {symbol: $symbol}) RETURN g.full_name", {"symbol": "STAT1"})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tosg_graph.errors import TosgError

if TYPE_CHECKING:
    from tosg_graph.bundle_anndata import to_anndata
    from tosg_graph.bundle_formats import convert
    from tosg_graph.bundle_graph import to_networkx
    from tosg_graph.classification import classify
    from tosg_graph.dataset import TosgDataset
    from tosg_graph.evaluation import evaluate
    from tosg_graph.in_memory import TosgInMemoryDataset
    from tosg_graph.platform import Platform, open
    from tosg_graph.pretraining import pretrain
    from tosg_graph.sentences import TextPlan
    from tosg_graph.signaling import signal

__all__ = [
    "Platform",
    "TextPlan",
    "TosgDataset",
    "TosgError",
    "TosgInMemoryDataset",
    "classify",
    "convert",
    "evaluate",
    "open",
    "pretrain",
    "signal",
    "to_anndata",
    "to_networkx",
]

# Imported on first use: torch and the driver take seconds, `tosg --help` must not.
_HOMES = {
    "Platform": "platform",
    "TextPlan": "sentences",
    "TosgDataset": "dataset",
    "TosgInMemoryDataset": "in_memory",
    "classify": "classification",
    "convert": "bundle_formats",
    "evaluate": "evaluation",
    "open": "platform",
    "pretrain": "pretraining",
    "signal": "signaling",
    "to_anndata": "bundle_anndata",
    "to_networkx": "bundle_graph",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"tosg_graph.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
