// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the ENCODES relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:ENCODES {edge_key: key}]->()
DELETE r
