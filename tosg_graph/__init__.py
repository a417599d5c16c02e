"""Text-omic signaling graphs: knowledge in Neo4j, cells in Parquet, tensors from a Cypher query.

>>> import tosg_graph as tg
>>> p = tg.open()
>>> p.query("MATCH (g:Gene {symbol: $symbol}) RETURN g.full_name", {"symbol": "STAT1"})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tosg_graph.errors import TosgError

if TYPE_CHECKING:
    from tosg_graph.dataset import TosgDataset
    from tosg_graph.platform import Platform, open

__all__ = ["Platform", "TosgDataset", "TosgError", "open"]

# Imported on first use: torch and the driver take seconds, `tosg --help` must not.
_HOMES = {"TosgDataset": "dataset", "Platform": "platform", "open": "platform"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"tosg_graph.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
