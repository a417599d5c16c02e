// Turn the nodes in $ids into tombstones that keep id, name and former labels; findings about them go.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
CALL (n) {
  MATCH (n)-[found:SIGNAL_FOUND]-()
  DELETE found
}
WITH n, labels(n) AS old, {id: n.id, name: n.name, retired: $release} AS kept
REMOVE n:$(old)
SET n = kept, n:Retired, n.labels = old
