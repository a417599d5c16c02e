// topic: ligands and receptors
// title: Which ligands of a pathway signal to its receptors?
// description: Pairs of ligand and receptor of which both take part in the same pathway.
// param: pathway string — part of the pathway's name, in any case
// example: pathway="Type II interferon"
MATCH (p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
MATCH (l:Gene)-[em:ENCODES*0..1]->()-[m:PARTICIPATES_IN]->(p)<-[n:PARTICIPATES_IN]-()<-[en:ENCODES*0..1]-(r:Gene)
WHERE all(x IN em + m + en + n WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
MATCH (l)-[up:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[down:ENCODES*0..1]-(r)
WHERE all(x IN up + pair + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN l.id AS ligand, l.symbol AS ligand_symbol, r.id AS receptor, r.symbol AS receptor_symbol,
       count(DISTINCT pair.source) AS resources, p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, resources DESC, ligand_symbol, receptor_symbol, ligand, receptor
