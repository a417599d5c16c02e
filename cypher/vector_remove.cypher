UNWIND $ids AS id
MATCH (n:Entity {id: id})
REMOVE n.text_embedding, n.embedding_sha, n.embedding_encoder
