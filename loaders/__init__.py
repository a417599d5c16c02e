"""One short file per knowledge source: it parses files into tables and never talks to the graph.

Each module has ``SOURCE: Source`` and ``parse(paths) -> Parsed``.
"""

from __future__ import annotations

from types import ModuleType

from loaders import cl, famplex, go, go_annotations, hgnc, liana, mondo, uberon, uniprot, wikipathways

_MODULES = (hgnc, uniprot, famplex, wikipathways, liana, go, go_annotations, mondo, cl, uberon)

# In load order: of a property that two sources give, the first one's value stays.
LOADERS: dict[str, ModuleType] = {m.SOURCE.key: m for m in _MODULES}
