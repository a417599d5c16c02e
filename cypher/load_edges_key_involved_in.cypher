// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first INVOLVED_IN is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT involved_in_edge_key IF NOT EXISTS FOR ()-[r:INVOLVED_IN]-() REQUIRE r.edge_key IS UNIQUE
