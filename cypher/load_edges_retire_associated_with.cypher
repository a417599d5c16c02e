// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the ASSOCIATED_WITH relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:ASSOCIATED_WITH {edge_key: key}]->()
DELETE r
