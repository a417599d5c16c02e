// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first ENCODES is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT encodes_edge_key IF NOT EXISTS FOR ()-[r:ENCODES]-() REQUIRE r.edge_key IS UNIQUE
