// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Names at the end of this path, of at most $limit nodes there: no hub is read to its end.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
CALL (n) {
  MATCH (n)<-[r0:LIGAND_OF]-(m:Gene)
  WHERE NOT coalesce(r0.negated, false)
  WITH DISTINCT m LIMIT $limit
  RETURN collect(m.name) AS names, count(m) AS ends
}
WITH n, names, ends WHERE ends > 0
RETURN n.id AS id, names, ends
