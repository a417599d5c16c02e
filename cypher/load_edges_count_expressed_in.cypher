// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many EXPRESSED_IN relationships there are; read from the count store.
MATCH ()-[r:EXPRESSED_IN]->()
RETURN count(r) AS edges
