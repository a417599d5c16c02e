// topic: pathways
// title: Which pathways do two genes share?
// description: Pathways in which both genes take part, the smallest first: there the two are most likely to meet.
// param: first string — approved symbol or id of one gene
// param: second string — approved symbol or id of the other gene
// example: first="STAT1" second="JAK1"
MATCH (a:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)<-[s:PARTICIPATES_IN]-()<-[es:ENCODES*0..1]-(b:Gene)
WHERE (a.symbol IN [$first, toUpper($first)] OR a.id = $first) AND (b.symbol IN [$second, toUpper($second)] OR b.id = $second) AND a <> b
  AND all(x IN er + r + es + s WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT p
MATCH (p)<-[m:PARTICIPATES_IN]-()<-[em:ENCODES*0..1]-(member:Gene)
WHERE all(x IN em + m WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN p.id AS pathway, p.name AS name, count(DISTINCT member) AS genes
ORDER BY genes, name, pathway
