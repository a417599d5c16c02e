// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before ASSOCIATED_WITH is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT associated_with_edge_key IF NOT EXISTS FOR ()-[r:ASSOCIATED_WITH]-() REQUIRE r.edge_key IS UNIQUE
