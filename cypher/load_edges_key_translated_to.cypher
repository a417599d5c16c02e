// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before TRANSLATED_TO is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT translated_to_edge_key IF NOT EXISTS FOR ()-[r:TRANSLATED_TO]-() REQUIRE r.edge_key IS UNIQUE
