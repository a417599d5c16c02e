// title: Which pathways does a gene take part in?
// description: Pathways of the gene, with how many genes each has.
// param: gene string — approved symbol or id (STAT1 or HGNC:11362)
// example: gene="STAT1"
MATCH (g:Gene)-[:PARTICIPATES_IN]->(p:Pathway)
WHERE (g.symbol IN [$gene, toUpper($gene)] OR g.id = $gene)
WITH DISTINCT g, p
RETURN p.id AS pathway, p.name AS name, COUNT { (p)<-[:PARTICIPATES_IN]-(:Gene) } AS genes, g.id AS gene
ORDER BY name, pathway
