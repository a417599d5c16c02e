// Create or update nodes: rows of [id, labels to add, properties to set (null removes)].
UNWIND $rows AS row
MERGE (n:Entity {id: row[0]})
SET n += row[2]
SET n:$(row[1])
