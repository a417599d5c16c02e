// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first IS_A is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT is_a_edge_key IF NOT EXISTS FOR ()-[r:IS_A]-() REQUIRE r.edge_key IS UNIQUE
