// What a question's answer names, drawn: copies of the entities without their vectors, and what relates them.
UNWIND apoc.coll.flatten([column IN $columns WHERE column IS NOT NULL], true) AS id
MATCH (n:Entity {id: id})
WITH collect(DISTINCT n)[..100] AS picked
WITH picked, [n IN picked | apoc.create.virtual.fromNode(n, [key IN keys(n) WHERE NOT n[key] IS :: LIST<FLOAT>])] AS shown
UNWIND range(0, size(picked) - 1) AS i
WITH picked, shown, i, picked[i] AS n
RETURN shown[i] AS node, COLLECT {
  MATCH (n)-[r]->(m:Entity)
  WHERE m IN picked
  RETURN apoc.create.vRelationship(shown[i], type(r), properties(r), shown[apoc.coll.indexOf(picked, m)])
} AS relationships
