// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many INTERACTS_WITH relationships there are; read from the count store.
MATCH ()-[r:INTERACTS_WITH]->()
RETURN count(r) AS edges
