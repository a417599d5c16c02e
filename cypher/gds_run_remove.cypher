MATCH (r:Run {id: $id})
WHERE r.algorithm IS NOT NULL
DELETE r
