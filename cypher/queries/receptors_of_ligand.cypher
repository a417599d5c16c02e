// title: Which receptors does a ligand bind?
// description: Receptors that any resource pairs with the ligand, those with the most resources first.
// param: ligand string — approved symbol or id of the ligand's gene
// example: ligand="TNF"
MATCH (l:Gene)-[:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[:ENCODES*0..1]-(r:Gene)
WHERE (l.symbol IN [$ligand, toUpper($ligand)] OR l.id = $ligand)
WITH l, r, collect(DISTINCT pair.source) AS found
UNWIND found AS source
WITH l, r, source ORDER BY source
WITH l, r, collect(source) AS sources
RETURN r.id AS gene, r.symbol AS symbol, r.full_name AS full_name, size(sources) AS resources, sources
ORDER BY resources DESC, symbol, gene
