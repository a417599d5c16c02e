// Ids one step below.
MATCH (child:Entity)-[:IS_A|PART_OF]->(term:Entity)
WHERE term.id IN $ids
RETURN collect(DISTINCT child.id) AS ids
