// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many INVOLVED_IN relationships there are; read from the count store.
MATCH ()-[r:INVOLVED_IN]->()
RETURN count(r) AS edges
