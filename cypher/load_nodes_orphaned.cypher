// Nodes that nobody states and no relationship holds any more.
MATCH (n:Entity)
WHERE n.sources = [] AND NOT EXISTS { (n)--() }
RETURN n.id AS id, labels(n) AS labels
