// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many MAPS_TO relationships there are; read from the count store.
MATCH ()-[r:MAPS_TO]->()
RETURN count(r) AS edges
