// topic: cells
// title: In which cell types is a gene expressed?
// description: Cell types by the fraction of their cells with a count of the gene; `mean` is raw counts per cell. Needs `tosg cells summarize`.
// param: gene string — approved symbol or id
// example: gene="CD79A"
MATCH (g:Gene)-[r:EXPRESSED_IN]->(t:CellType)
WHERE (g.symbol IN [$gene, toUpper($gene)] OR g.id = $gene)
  AND all(x IN [r] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN g.id AS gene, g.symbol AS symbol, t.id AS cell_type, t.name AS cell_type_name, r.mean AS mean,
       100 * r.fraction AS pct, r.cells AS cells, r.store_version AS store_version
ORDER BY pct DESC, cell_type_name, cell_type, gene
