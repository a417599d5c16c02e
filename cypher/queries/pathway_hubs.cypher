// topic: pathways
// title: Which genes of a pathway signal to and from the most others?
// description: Genes of the pathway by the number of genes one signaling step away; `inside` counts those of the pathway.
// param: pathway string — name of the pathway in any case, or its id
// param: limit int = 50 — most rows
// example: pathway="Type II interferon signaling"
MATCH (p:Pathway)
WHERE (toLower(p.name) = toLower($pathway) OR p.id = $pathway)
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p)
WHERE all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH p, collect(DISTINCT g) AS genes
UNWIND genes AS g
CALL (g) {
  MATCH (g)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(to:Gene)
  WHERE to <> g
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT to) AS targets
}
CALL (g) {
  MATCH (from:Gene)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF]->()<-[down:ENCODES*0..1]-(g)
  WHERE from <> g
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN collect(DISTINCT from) AS regulators
}
WITH p, g, targets, regulators, [x IN genes WHERE x IN targets OR x IN regulators] AS inside
WHERE size(targets) + size(regulators) > 0
RETURN g.id AS gene, g.symbol AS symbol, size(regulators) AS signals_in, size(targets) AS signals_out,
       size(inside) AS inside, p.id AS pathway, p.name AS pathway_name
ORDER BY signals_in + signals_out DESC, symbol, gene, pathway
LIMIT $limit
