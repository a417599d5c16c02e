// Turn the nodes in $ids into tombstones that keep id, name and former labels.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
WITH n, labels(n) AS old, {id: n.id, name: n.name, retired: $release} AS kept
REMOVE n:$(old)
SET n = kept, n:Retired, n.labels = old
