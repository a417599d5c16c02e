// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the INDICATED_FOR relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:INDICATED_FOR {edge_key: key}]->()
DELETE r
