"""One short file per knowledge source: it parses files into tables and never talks to the graph.

Each module has ``SOURCE: Source`` and ``parse(paths) -> Parsed``.
"""

from __future__ import annotations

from types import ModuleType

from loaders import cl, hgnc, wikipathways

# In load order: of a property that two sources give, the first one's value stays.
LOADERS: dict[str, ModuleType] = {m.SOURCE.key: m for m in (hgnc, wikipathways, cl)}
