// The procedure stores 32-bit floats; SET would store 64-bit ones.
UNWIND $rows AS row
MATCH (n:Entity {id: row.id})
CALL db.create.setNodeVectorProperty(n, 'text_embedding', row.vector)
SET n.embedding_sha = row.text_sha, n.embedding_encoder = $encoder
