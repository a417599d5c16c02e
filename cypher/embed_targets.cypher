// Which text each entity has now, and which text its vector was made of.
MATCH (n:Entity)
WHERE n.id IN $ids
RETURN n.id AS id, n.text_sha AS text_sha, n.embedding_sha AS embedding_sha, n.embedding_encoder AS encoder
ORDER BY n.id
