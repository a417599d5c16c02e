// What a question's answer names, drawn: entities without their vectors, and the relationships between them.
UNWIND apoc.coll.flatten($columns, true) AS id
MATCH (n:Entity {id: id})
WITH collect(DISTINCT n)[..150] AS picked
UNWIND picked AS n
OPTIONAL MATCH (n)-[r]->(m:Entity)
WHERE m IN picked
RETURN apoc.create.virtual.fromNode(n, [key IN keys(n) WHERE NOT key IN $hidden]) AS node, collect(r) AS relationships
