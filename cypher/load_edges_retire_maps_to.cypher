// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the MAPS_TO relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:MAPS_TO {edge_key: key}]->()
DELETE r
