"""One short file per knowledge source: it parses files into tables and never talks to the graph.

Each module has ``SOURCE: Source`` and ``parse(paths, **options) -> Parsed``.
"""

from __future__ import annotations

from loaders import (
    bindingdb,
    biomedgraphica,
    chebi,
    cl,
    diseases,
    drkg,
    drug_targets,
    drugcentral,
    famplex,
    gene_disease,
    go,
    go_annotations,
    hetionet,
    hgnc,
    kgx,
    liana,
    mondo,
    omnipath,
    optimuskg,
    pathway_disease,
    primekg,
    signaling,
    uberon,
    uniprot,
    wikipathways,
)
from tosg_graph.types import Loader

_MODULES: tuple[Loader, ...] = (
    *(hgnc, uniprot, famplex, wikipathways, liana, signaling),
    *(go, go_annotations, mondo, cl, uberon, chebi),
    *(drug_targets, gene_disease, pathway_disease),
    *(
        drugcentral,
        bindingdb,
        diseases,
        biomedgraphica,
        kgx,
        hetionet,
        omnipath,
        primekg,
        optimuskg,
        drkg,
    ),  # from files that the user gives
)

# In load order: of a property that two sources give, the first one's value stays.
LOADERS: dict[str, Loader] = {m.SOURCE.key: m for m in _MODULES}
