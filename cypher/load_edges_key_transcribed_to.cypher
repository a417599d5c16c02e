// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before TRANSCRIBED_TO is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT transcribed_to_edge_key IF NOT EXISTS FOR ()-[r:TRANSCRIBED_TO]-() REQUIRE r.edge_key IS UNIQUE
