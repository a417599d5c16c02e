// topic: ligands and receptors
// title: Which ligands bind a receptor?
// description: Ligands that any resource pairs with the receptor, those with the most resources first.
// param: receptor string — approved symbol or id of the receptor's gene
// example: receptor="IFNGR1"
MATCH (l:Gene)-[up:ENCODES*0..1]->()-[pair:LIGAND_OF]->()<-[down:ENCODES*0..1]-(r:Gene)
WHERE (r.symbol IN [$receptor, toUpper($receptor)] OR r.id = $receptor)
  AND all(x IN up + pair + down WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT l, r, pair.source AS source ORDER BY source
WITH l, r, collect(source) AS named_by
RETURN l.id AS gene, l.symbol AS symbol, l.full_name AS full_name, size(named_by) AS resources, named_by AS sources
ORDER BY resources DESC, symbol, gene
