// Nodes that nobody states and no relationship holds any more; findings of runs hold nothing.
MATCH (n:Entity)
WHERE n.sources = [] AND NOT EXISTS { (n)-[:!SIGNAL_FOUND]-() }
RETURN n.id AS id, labels(n) AS labels
