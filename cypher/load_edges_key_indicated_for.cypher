// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before INDICATED_FOR is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT indicated_for_edge_key IF NOT EXISTS FOR ()-[r:INDICATED_FOR]-() REQUIRE r.edge_key IS UNIQUE
