// topic: pathways
// title: Which genes take part in a pathway?
// description: Genes of every pathway whose name holds the text; one row per pathway and gene.
// param: pathway string — part of the pathway's name, in any case
// example: pathway="interferon"
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT g.id AS gene, g.symbol AS symbol, g.full_name AS full_name, p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, symbol, gene
