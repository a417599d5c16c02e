// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first ASSOCIATED_WITH is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT associated_with_edge_key IF NOT EXISTS FOR ()-[r:ASSOCIATED_WITH]-() REQUIRE r.edge_key IS UNIQUE
