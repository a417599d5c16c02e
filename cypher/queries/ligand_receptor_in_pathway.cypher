// title: Which ligands of a pathway signal to its receptors?
// description: Pairs of ligand and receptor of which both take part in the same pathway.
// param: pathway string — part of the pathway's name, in any case
// example: pathway="Type II interferon"
MATCH (p:Pathway)
WHERE toLower(p.name) CONTAINS toLower($pathway)
MATCH (l:Gene)-[:PARTICIPATES_IN]->(p)<-[:PARTICIPATES_IN]-(r:Gene)
MATCH (l)-[:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[:ENCODES*0..1]-(r)
RETURN l.id AS ligand, l.symbol AS ligand_symbol, r.id AS receptor, r.symbol AS receptor_symbol,
       count(DISTINCT pair.source) AS resources, p.id AS pathway, p.name AS pathway_name
ORDER BY pathway_name, pathway, resources DESC, ligand_symbol, receptor_symbol, ligand, receptor
