// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many INDICATED_FOR relationships there are; read from the count store.
MATCH ()-[r:INDICATED_FOR]->()
RETURN count(r) AS edges
