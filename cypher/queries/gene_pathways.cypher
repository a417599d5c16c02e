// topic: pathways
// title: Which pathways does a gene take part in?
// description: Pathways of the gene, with how many genes each has.
// param: gene string — approved symbol or id (STAT1 or HGNC:11362)
// example: gene="STAT1"
MATCH (g:Gene)-[er:ENCODES*0..1]->()-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE (g.symbol IN [$gene, toUpper($gene)] OR g.id = $gene)
  AND all(x IN er + r WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT g, p
MATCH (p)<-[m:PARTICIPATES_IN]-()<-[em:ENCODES*0..1]-(member:Gene)
WHERE all(x IN em + m WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN p.id AS pathway, p.name AS name, count(DISTINCT member) AS genes, g.id AS gene
ORDER BY name, pathway, gene
