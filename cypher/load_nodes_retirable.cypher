// Of the nodes in $ids that $source states: labels, and whether neither another source nor a relationship holds them.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
WHERE $source IN n.sources
RETURN n.id AS id, labels(n) AS labels, n.sources = [$source] AND NOT EXISTS { (n)-[:!SIGNAL_FOUND]-() } AS alone
