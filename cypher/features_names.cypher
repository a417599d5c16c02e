// Properties of the picked nodes that hold numbers or lists of them.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
UNWIND keys(n) AS key
WITH DISTINCT key, n[key] AS value
WHERE value IS :: INTEGER OR value IS :: FLOAT OR value IS :: BOOLEAN OR value IS :: LIST<INTEGER NOT NULL | FLOAT NOT NULL>
RETURN DISTINCT key AS name
ORDER BY name
