// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first SIGNALS_TO is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT signals_to_edge_key IF NOT EXISTS FOR ()-[r:SIGNALS_TO]-() REQUIRE r.edge_key IS UNIQUE
