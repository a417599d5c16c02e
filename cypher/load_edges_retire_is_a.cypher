// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Delete the IS_A relationships in $keys.
UNWIND $keys AS key
MATCH ()-[r:IS_A {edge_key: key}]->()
DELETE r
