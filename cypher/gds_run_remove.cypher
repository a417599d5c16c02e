MATCH (r:Run {id: $id})
DELETE r
