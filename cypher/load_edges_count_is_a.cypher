// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many IS_A relationships there are; read from the count store.
MATCH ()-[r:IS_A]->()
RETURN count(r) AS edges
