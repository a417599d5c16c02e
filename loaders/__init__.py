"""One short file per knowledge source: it parses files into tables and never talks to the graph.

A source is a module here, or a YAML in ``mappings`` that says what stands in which column.
Each has ``SOURCE: Source`` and ``parse(paths, **options) -> Parsed``.
"""

from __future__ import annotations

from loaders import (
    attributes,
    bindingdb,
    biomedgraphica,
    cellphonedb,
    chebi,
    cl,
    diseases,
    doid,
    drkg,
    drug_targets,
    drugcentral,
    famplex,
    gene_disease,
    go,
    go_annotations,
    go_db,
    hetionet,
    hgnc,
    kgx,
    liana,
    mondo,
    obo,
    obograph,
    omnicelltosg,
    omnipath,
    optimuskg,
    pathway_disease,
    primekg,
    reactome,
    signaling,
    string,
    term_lists,
    uberon,
    uniprot,
    wikipathways,
)
from loaders.mapping import built_in
from tosg_graph.types import Loader

_MODULES: tuple[Loader, ...] = (
    *(hgnc, uniprot, famplex, wikipathways, liana, signaling),
    *(go, go_annotations, mondo, cl, uberon, chebi),
    *(drug_targets, gene_disease, pathway_disease),
    *(cellphonedb, doid, go_db, attributes, term_lists),
    *(
        drugcentral,
        bindingdb,
        diseases,
        biomedgraphica,
        kgx,
        obo,
        obograph,
        hetionet,
        omnipath,
        primekg,
        optimuskg,
        drkg,
        string,
        omnicelltosg,
        reactome,
    ),  # from files that the user gives
)

# In load order: of a property that two sources give, the first one's value stays.
LOADERS: dict[str, Loader] = {m.SOURCE.key: m for m in (*_MODULES, *built_in())}
