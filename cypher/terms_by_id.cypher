// Which of these ids are entities, and of which kinds.
MATCH (t:Entity)
WHERE t.id IN $ids
RETURN t.id AS id, labels(t) AS labels
ORDER BY t.id
