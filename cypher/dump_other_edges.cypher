// Every relationship that no load wrote: of a type outside $verbs, without a key, or of a node that is no entity.
MATCH (s)-[r]->(o)
WHERE NOT type(r) IN $verbs OR r.edge_key IS NULL
  OR NOT s:Entity OR s.id IS NULL OR NOT o:Entity OR o.id IS NULL
RETURN type(r) AS type, properties(r) AS properties,
  CASE WHEN s:Entity THEN s.id END AS start_id, elementId(s) AS start_element,
  CASE WHEN o:Entity THEN o.id END AS end_id, elementId(o) AS end_element
