// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the INVOLVED_IN relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:INVOLVED_IN {edge_key: key}]->()
DELETE r
