// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before ENCODES is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT encodes_edge_key IF NOT EXISTS FOR ()-[r:ENCODES]-() REQUIRE r.edge_key IS UNIQUE
