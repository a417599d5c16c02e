// title: Which pathways do two genes share?
// description: Pathways in which both genes take part, the smallest first: there the two are most likely to meet.
// param: first string — approved symbol or id of one gene
// param: second string — approved symbol or id of the other gene
// example: first="STAT1" second="JAK1"
MATCH (a:Gene)-[:PARTICIPATES_IN]->(p:Pathway)<-[:PARTICIPATES_IN]-(b:Gene)
WHERE (a.symbol IN [$first, toUpper($first)] OR a.id = $first) AND (b.symbol IN [$second, toUpper($second)] OR b.id = $second) AND a <> b
WITH DISTINCT p
RETURN p.id AS pathway, p.name AS name, COUNT { (p)<-[:PARTICIPATES_IN]-(:Gene) } AS genes
ORDER BY genes, name, pathway
