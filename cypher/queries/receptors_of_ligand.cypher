// topic: ligands and receptors
// title: Which receptors does a ligand bind?
// description: Receptors that any resource pairs with the ligand, those with the most resources first.
// param: ligand string — approved symbol or id of the ligand's gene
// example: ligand="TNF"
MATCH (l:Gene)-[up:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[down:ENCODES*0..1]-(r:Gene)
WHERE (l.symbol IN [$ligand, toUpper($ligand)] OR l.id = $ligand)
  AND all(x IN up + pair + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT l, r, pair.source AS source ORDER BY source
WITH l, r, collect(source) AS named_by
RETURN r.id AS gene, r.symbol AS symbol, r.full_name AS full_name, size(named_by) AS resources, named_by AS sources
ORDER BY resources DESC, symbol, gene
