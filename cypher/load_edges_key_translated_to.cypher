// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first TRANSLATED_TO is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT translated_to_edge_key IF NOT EXISTS FOR ()-[r:TRANSLATED_TO]-() REQUIRE r.edge_key IS UNIQUE
