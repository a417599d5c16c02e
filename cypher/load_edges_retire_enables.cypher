// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the ENABLES relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:ENABLES {edge_key: key}]->()
DELETE r
