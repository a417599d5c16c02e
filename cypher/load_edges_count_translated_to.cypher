// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many TRANSLATED_TO relationships there are; read from the count store.
MATCH ()-[r:TRANSLATED_TO]->()
RETURN count(r) AS edges
