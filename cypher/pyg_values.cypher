// The property $name of each of $ids, in order; null where an entity has none.
UNWIND range(0, size($ids) - 1) AS place
MATCH (n:Entity {id: $ids[place]})
WITH place, n ORDER BY place
RETURN collect([place, n[$name]]) AS values
