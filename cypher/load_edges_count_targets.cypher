// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many TARGETS relationships there are; read from the count store.
MATCH ()-[r:TARGETS]->()
RETURN count(r) AS edges
