// The runs of a comparison.
MATCH (c:Run {id: $id})
UNWIND $groups AS group
MATCH (r:Run {id: group.run})
MERGE (c)-[g:GROUP]->(r)
SET g.name = group.name
