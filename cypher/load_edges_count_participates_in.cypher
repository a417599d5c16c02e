// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many PARTICIPATES_IN relationships there are; read from the count store.
MATCH ()-[r:PARTICIPATES_IN]->()
RETURN count(r) AS edges
