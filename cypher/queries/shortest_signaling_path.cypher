// title: How does a signal get from one gene to another?
// description: Paths with the fewest edges along directed signaling (SIGNALS_TO, or ligand to receptor); a gene and its protein count as one place.
// param: source string — approved symbol or id of the gene where it starts
// param: target string — approved symbol or id of the gene where it ends
// param: limit int = 10 — most paths of equal length
// example: source="IL6" target="STAT3"
MATCH path = ALL SHORTEST
  (a:Gene)
  ((x)-[r:SIGNALS_TO|LIGAND_OF|ENCODES]-(y) WHERE type(r) = 'ENCODES' OR startNode(r) = x){1,12}
  (b:Gene)
WHERE (a.symbol IN [$source, toUpper($source)] OR a.id = $source) AND (b.symbol IN [$target, toUpper($target)] OR b.id = $target) AND a <> b
WITH path, [n IN nodes(path) | n.name] AS names, [n IN nodes(path) | n.id] AS ids
RETURN size([e IN relationships(path) WHERE type(e) <> 'ENCODES']) AS steps, names, path
ORDER BY steps, ids, [e IN relationships(path) | toString(e.edge_key)]
LIMIT $limit
