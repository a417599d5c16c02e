// Places of the rows [source, verb, target] that no relationship states.
UNWIND range(0, size($rows) - 1) AS place
WITH place, $rows[place] AS row
MATCH (s:Entity {id: row[0]})
MATCH (t:Entity {id: row[2]})
WITH place, row, s, t WHERE NOT EXISTS { MATCH (s)-[r]->(t) WHERE type(r) = row[1] }
RETURN collect(place) AS places
