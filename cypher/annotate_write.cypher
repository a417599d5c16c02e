// A text that has changed since it was read is left alone.
UNWIND $rows AS row
MATCH (n:Entity {id: row.id})
WHERE n.text_sha = row.before OR (n.text_sha IS NULL AND row.before IS NULL)
SET n += row.set
