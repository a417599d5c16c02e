// Keys of the EXPRESSED_IN relationships that $source states.
MATCH (:Gene)-[r:EXPRESSED_IN]->(:CellType)
WHERE r.source = $source
RETURN collect(r.edge_key) AS keys
