// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before TARGETS is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT targets_edge_key IF NOT EXISTS FOR ()-[r:TARGETS]-() REQUIRE r.edge_key IS UNIQUE
