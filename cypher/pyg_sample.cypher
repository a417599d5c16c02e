// For each of $ids, at most $cap relationships of $verb that lead to it from entities of the type $label; $seed chooses.
UNWIND range(0, size($ids) - 1) AS place
MATCH (o:Entity {id: $ids[place]})
CALL (o) {
  MATCH (o)<-[r]-(s:Entity)
  WHERE type(r) = $verb AND $label IN labels(s) AND none(other IN $before WHERE other IN labels(s))
  WITH s, r ORDER BY apoc.util.md5([toString(r.edge_key), $seed]), r.edge_key LIMIT $cap
  RETURN s.id AS source, r.edge_key AS key
}
RETURN collect(place) AS places, collect(source) AS sources, collect(key) AS keys
