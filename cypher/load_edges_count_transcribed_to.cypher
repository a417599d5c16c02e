// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many TRANSCRIBED_TO relationships there are; read from the count store.
MATCH ()-[r:TRANSCRIBED_TO]->()
RETURN count(r) AS edges
