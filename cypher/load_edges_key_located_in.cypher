// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first LOCATED_IN is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT located_in_edge_key IF NOT EXISTS FOR ()-[r:LOCATED_IN]-() REQUIRE r.edge_key IS UNIQUE
