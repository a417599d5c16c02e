SHOW VECTOR INDEXES YIELD name, options
WHERE name = 'entity_text_vec'
RETURN options.indexConfig['vector.dimensions'] AS dimension
