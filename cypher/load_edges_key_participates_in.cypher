// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first PARTICIPATES_IN is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT participates_in_edge_key IF NOT EXISTS FOR ()-[r:PARTICIPATES_IN]-() REQUIRE r.edge_key IS UNIQUE
