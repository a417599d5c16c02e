CREATE VECTOR INDEX entity_text_vec IF NOT EXISTS FOR (n:Entity) ON n.text_embedding
OPTIONS $options
