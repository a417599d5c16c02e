// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the SIGNALS_TO relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:SIGNALS_TO {edge_key: key}]->()
DELETE r
