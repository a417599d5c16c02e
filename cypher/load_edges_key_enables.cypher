// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before ENABLES is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT enables_edge_key IF NOT EXISTS FOR ()-[r:ENABLES]-() REQUIRE r.edge_key IS UNIQUE
