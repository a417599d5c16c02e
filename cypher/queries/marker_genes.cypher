// topic: cells
// title: Which genes does one cell type express and no other?
// description: Genes that enough cells of the type, or of a kind of it, have a count of, and few of any other type; `elsewhere_pct` is the highest of these. Needs `tosg cells summarize`.
// param: cell_type string — name or id of the cell type (B cell or CL:0000236)
// param: min_pct int = 25 — least percentage of its cells with a count
// param: max_pct int = 10 — largest percentage in any other type
// param: limit int = 200 — most rows
// example: cell_type="B cell"
MATCH (top:CellType)
WHERE (toLower(top.name) = toLower($cell_type) OR top.id = $cell_type)
MATCH (kind:CellType)-[isa:IS_A*0..30]->(top)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH top, collect(DISTINCT kind) AS kinds
MATCH (top)-[isa:IS_A*0..30]->(broader:CellType)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH kinds, collect(DISTINCT broader) AS broader
MATCH (g:Gene)-[here:EXPRESSED_IN]->(t:CellType)
WHERE t IN kinds AND 100 * here.fraction >= $min_pct
  AND all(x IN [here] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH kinds, broader, g, here, t ORDER BY here.fraction DESC, t.id
WITH kinds, broader, g, collect(here)[0] AS here, collect(t)[0] AS t
CALL (kinds, broader, g) {
  MATCH (g)-[there:EXPRESSED_IN]->(other:CellType)
  WHERE NOT other IN kinds AND NOT other IN broader
    AND all(x IN [there] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  WITH there, other ORDER BY there.fraction DESC, other.id
  RETURN coalesce(max(100 * there.fraction), 0.0) AS elsewhere_pct, collect(other.name)[0] AS elsewhere
}
WITH g, here, t, elsewhere_pct, elsewhere
WHERE elsewhere_pct <= $max_pct
RETURN g.id AS gene, g.symbol AS symbol, t.name AS cell_type, here.mean AS mean, 100 * here.fraction AS pct,
       elsewhere_pct, elsewhere
ORDER BY pct - elsewhere_pct DESC, symbol, gene
LIMIT $limit
