CALL db.awaitIndex('entity_text_vec', 300)
