// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many LOCATED_IN relationships there are; read from the count store.
MATCH ()-[r:LOCATED_IN]->()
RETURN count(r) AS edges
