// title: Which ligands bind a receptor?
// description: Ligands that any resource pairs with the receptor, those with the most resources first.
// param: receptor string — approved symbol or id of the receptor's gene
// example: receptor="IFNGR1"
MATCH (l:Gene)-[:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[:ENCODES*0..1]-(r:Gene)
WHERE (r.symbol IN [$receptor, toUpper($receptor)] OR r.id = $receptor)
WITH l, r, collect(DISTINCT pair.source) AS found
UNWIND found AS source
WITH l, r, source ORDER BY source
WITH l, r, collect(source) AS sources
RETURN l.id AS gene, l.symbol AS symbol, l.full_name AS full_name, size(sources) AS resources, sources
ORDER BY resources DESC, symbol, gene
