// topic: diseases
// title: Which diseases go with the genes of a pathway?
// description: Diseases associated with genes of the pathway, those with the most genes first.
// param: pathway string — part of the pathway's name, in any case
// example: pathway="apoptosis"
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT g
MATCH (g)-[ea:ENCODES*0..1]->()-[a:ASSOCIATED_WITH]-(d:Disease)
WHERE all(x IN ea + a WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT d, g ORDER BY g.symbol, g.id
WITH d, collect(g.symbol) AS symbols
RETURN d.id AS disease, d.name AS name, size(symbols) AS genes, symbols
ORDER BY genes DESC, name, disease
