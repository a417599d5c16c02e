// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before INTERACTS_WITH is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT interacts_with_edge_key IF NOT EXISTS FOR ()-[r:INTERACTS_WITH]-() REQUIRE r.edge_key IS UNIQUE
