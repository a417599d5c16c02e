// topic: cells
// title: Which receptors of a pathway does a cell type express?
// description: Genes of the pathway that some resource names as a receptor and that the cell type, or a kind of it, expresses. Needs `tosg cells summarize`.
// param: pathway string — part of the pathway's name, in any case
// param: cell_type string — name or id of the cell type (B cell or CL:0000236)
// param: min_pct int = 10 — least percentage of the cells with a count
// example: pathway="signaling" cell_type="B cell"
MATCH (top:CellType)
WHERE (toLower(top.name) = toLower($cell_type) OR top.id = $cell_type)
MATCH (kind:CellType)-[isa:IS_A*0..30]->(top)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT kind
MATCH (g:Gene)-[here:EXPRESSED_IN]->(kind)
WHERE 100 * here.fraction >= $min_pct
  AND all(x IN [here] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (g)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (g)-[down:ENCODES*0..1]->()<-[pair:LIGAND_OF]-(ligand)
WHERE all(x IN down + pair WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN g.id AS gene, g.symbol AS symbol, kind.name AS cell_type, here.mean AS mean, 100 * here.fraction AS pct,
       count(DISTINCT ligand) AS ligands, p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, pct DESC, symbol, gene, cell_type
