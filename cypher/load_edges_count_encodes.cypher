// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many ENCODES relationships there are; read from the count store.
MATCH ()-[r:ENCODES]->()
RETURN count(r) AS edges
