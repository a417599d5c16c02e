// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Needed before PARTICIPATES_IN is upserted; a bulk import keeps keys unique and does without.
CREATE CONSTRAINT participates_in_edge_key IF NOT EXISTS FOR ()-[r:PARTICIPATES_IN]-() REQUIRE r.edge_key IS UNIQUE
