// What a question's answer names, drawn: copies of the entities without their vectors, and what relates them. Of what
// runs found, that of the runs that the answer names.
UNWIND apoc.coll.flatten([column IN $columns WHERE column IS NOT NULL], true) AS id
WITH collect(DISTINCT id) AS named
UNWIND named AS id
MATCH (n:Entity {id: id})
WITH named, collect(DISTINCT n)[..100] AS picked
WITH named, picked, [n IN picked | apoc.create.virtual.fromNode(n, [key IN keys(n) WHERE NOT n[key] IS :: LIST<FLOAT>])] AS shown
UNWIND range(0, size(picked) - 1) AS i
WITH named, picked, shown, i, picked[i] AS n
RETURN shown[i] AS node, COLLECT {
  MATCH (n)-[r]->(m:Entity)
  WHERE m IN picked AND (type(r) <> 'SIGNAL_FOUND' OR r.run IN named)
  RETURN apoc.create.vRelationship(shown[i], type(r), properties(r), shown[apoc.coll.indexOf(picked, m)])
} AS relationships
