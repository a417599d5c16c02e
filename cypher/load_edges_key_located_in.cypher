// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before LOCATED_IN is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT located_in_edge_key IF NOT EXISTS FOR ()-[r:LOCATED_IN]-() REQUIRE r.edge_key IS UNIQUE
