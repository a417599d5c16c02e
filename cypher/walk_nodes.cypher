// The next entities by id, one list each: labels, the properties $keys, and, where $more, all other properties.
MATCH (n:Entity) WHERE n.id > $after
WITH n ORDER BY n.id LIMIT $limit
RETURN collect([labels(n), [k IN $keys | n[k]],
  CASE WHEN $more THEN [k IN keys(n) WHERE NOT k IN $keys | [k, n[k]]] ELSE [] END]) AS rows
