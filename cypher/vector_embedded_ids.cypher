// Entities that have a vector of another encoder than $keep.
MATCH (n:Entity)
WHERE n.embedding_encoder <> $keep
RETURN collect(n.id) AS ids
