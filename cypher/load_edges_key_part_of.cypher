// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before PART_OF is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT part_of_edge_key IF NOT EXISTS FOR ()-[r:PART_OF]-() REQUIRE r.edge_key IS UNIQUE
