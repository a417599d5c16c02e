// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first INDICATED_FOR is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT indicated_for_edge_key IF NOT EXISTS FOR ()-[r:INDICATED_FOR]-() REQUIRE r.edge_key IS UNIQUE
