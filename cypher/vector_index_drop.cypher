DROP INDEX entity_text_vec IF EXISTS
