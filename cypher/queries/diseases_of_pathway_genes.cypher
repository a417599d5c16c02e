// title: Which diseases go with the genes of a pathway?
// description: Diseases associated with genes of the pathway, those with the most genes first.
// param: pathway string — part of the pathway's name, in any case
// example: pathway="apoptosis"
MATCH (g:Gene)-[:PARTICIPATES_IN]->(p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
MATCH (g)-[:ASSOCIATED_WITH]-(d:Disease)
WITH DISTINCT d, g ORDER BY g.symbol, g.id
WITH d, collect(g.symbol) AS symbols
RETURN d.id AS disease, d.name AS name, size(symbols) AS genes, symbols
ORDER BY genes DESC, name, disease
