// topic: cells
// title: Which drugs act on the receptors of a cell type?
// description: Drugs that target a receptor which the cell type, or a kind of it, expresses, with what they do to it. Needs `tosg cells summarize`.
// param: cell_type string — name or id of the cell type (T cell or CL:0000084)
// param: min_pct int = 10 — least percentage of the cells with a count
// param: limit int = 200 — most rows
// example: cell_type="T cell"
MATCH (top:CellType)
WHERE (toLower(top.name) = toLower($cell_type) OR top.id = $cell_type)
MATCH (kind:CellType)-[isa:IS_A*0..30]->(top)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT kind
MATCH (g:Gene)-[here:EXPRESSED_IN]->(kind)
WHERE 100 * here.fraction >= $min_pct
  AND all(x IN [here] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  AND EXISTS {
    MATCH (g)-[down:ENCODES*0..1]->()<-[pair:LIGAND_OF]-()
    WHERE all(x IN down + pair WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  }
MATCH (d:Drug)-[t:TARGETS]->()<-[e:ENCODES*0..1]-(g)
WHERE all(x IN [t] + e WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT d.id AS drug, d.name AS drug_name, t.action AS action, g.id AS gene, g.symbol AS symbol,
       kind.name AS cell_type, 100 * here.fraction AS pct
ORDER BY drug_name, drug, symbol, gene, action, cell_type
LIMIT $limit
