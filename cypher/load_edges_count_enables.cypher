// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many ENABLES relationships there are; read from the count store.
MATCH ()-[r:ENABLES]->()
RETURN count(r) AS edges
