// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first TARGETS is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT targets_edge_key IF NOT EXISTS FOR ()-[r:TARGETS]-() REQUIRE r.edge_key IS UNIQUE
