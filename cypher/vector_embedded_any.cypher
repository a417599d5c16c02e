// Whether any entity has a vector; stops at the first.
RETURN EXISTS { MATCH (n:Entity) WHERE n.embedding_sha IS NOT NULL } AS embedded
