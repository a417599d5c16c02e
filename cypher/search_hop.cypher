// One step from each of $ids: at most $cap relationships of a node, ordered by verb and by the other end.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
CALL (n) {
  MATCH (n)-[r:!SIGNAL_FOUND]-(m:Entity)
  WITH type(r) AS verb, startNode(r) = n AS outward, m, count(*) AS statements
  RETURN verb, outward, m, statements
  ORDER BY verb, m.id, outward
  LIMIT $cap
}
RETURN n.id AS id, n.name AS name, verb, outward, labels(m) AS labels, m.id AS other, m.name AS other_name, statements
ORDER BY id, verb, other, outward
