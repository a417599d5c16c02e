// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the TARGETS relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:TARGETS {edge_key: key}]->()
DELETE r
