// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first EXPRESSED_IN is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT expressed_in_edge_key IF NOT EXISTS FOR ()-[r:EXPRESSED_IN]-() REQUIRE r.edge_key IS UNIQUE
