// topic: ligands and receptors
// title: Which genes make the ligand-receptor pairs of a pathway, one row per gene?
// description: Both ends of each pair in rows of their own: made to be joined with cells, as in --abundance mean,pct --by cell_type.
// param: pathway string — part of the pathway's name, in any case
// example: pathway="Type II interferon"
MATCH (p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
MATCH (l:Gene)-[em:ENCODES*0..1]->()-[m:PARTICIPATES_IN]->(p)<-[n:PARTICIPATES_IN]-()<-[en:ENCODES*0..1]-(r:Gene)
WHERE all(x IN em + m + en + n WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (l)-[up:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[down:ENCODES*0..1]-(r)
WHERE all(x IN up + pair + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH l, r, p, count(DISTINCT pair.source) AS resources
UNWIND [['ligand', l], ['receptor', r]] AS end
WITH l, r, p, resources, end[0] AS role, end[1] AS g
RETURN g.id AS gene, g.symbol AS symbol, role, l.symbol + ' - ' + r.symbol AS pair, resources,
       p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, pair, role, gene
