// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Made when the first PART_OF is loaded: an index on relationships costs time where there are many.
CREATE CONSTRAINT part_of_edge_key IF NOT EXISTS FOR ()-[r:PART_OF]-() REQUIRE r.edge_key IS UNIQUE
