// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first ENABLES is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT enables_edge_key IF NOT EXISTS FOR ()-[r:ENABLES]-() REQUIRE r.edge_key IS UNIQUE
