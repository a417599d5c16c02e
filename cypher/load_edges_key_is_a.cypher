// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before IS_A is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT is_a_edge_key IF NOT EXISTS FOR ()-[r:IS_A]-() REQUIRE r.edge_key IS UNIQUE
