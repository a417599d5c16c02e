UNWIND $ids AS id
MATCH (n:Entity {id: id})
WHERE n[$property] IS NOT NULL
RETURN n.id AS id, n[$property] AS value
