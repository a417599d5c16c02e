// Which text each entity has now, and which text its vector was made of.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
RETURN n.id AS id, n.text_sha AS text_sha, size(n.text) AS chars, n.embedding_sha AS embedding_sha,
  n.embedding_encoder AS encoder
