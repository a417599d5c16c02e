// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// The next LOCATED_IN relationships by key, one list each: ends, properties $keys, where $more the others.
MATCH (s)-[r:LOCATED_IN]->(o) WHERE r.edge_key > $after
WITH s, r, o ORDER BY r.edge_key LIMIT $limit
RETURN collect([s.id, o.id, [k IN $keys | r[k]],
  CASE WHEN $more THEN [k IN keys(r) WHERE NOT k IN $keys | [k, r[k]]] ELSE [] END]) AS rows
