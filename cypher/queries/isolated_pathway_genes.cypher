// topic: pathways
// title: Which genes of a pathway have no known signal within it?
// description: Genes that no signaling step or interaction joins to another gene of the pathway: where knowledge is missing.
// param: pathway string — name of the pathway in any case, or its id
// example: pathway="Type II interferon signaling"
MATCH (p:Pathway)
WHERE (toLower(p.name) = toLower($pathway) OR p.id = $pathway)
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p)
WHERE all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH p, collect(DISTINCT g) AS genes
UNWIND genes AS g
CALL (g, genes) {
  MATCH (g)-[up:ENCODES*0..1]->()-[step:SIGNALS_TO|LIGAND_OF|INTERACTS_WITH]-()<-[down:ENCODES*0..1]-(other:Gene)
  WHERE other <> g AND other IN genes
    AND all(x IN up + step + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
  RETURN count(*) AS steps
}
WITH p, g, size(genes) AS genes, steps
WHERE steps = 0
RETURN g.id AS gene, g.symbol AS symbol, g.full_name AS full_name, genes AS genes_of_pathway, p.id AS pathway, p.name AS pathway_name
ORDER BY symbol, gene, pathway
