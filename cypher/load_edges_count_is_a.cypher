// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many IS_A relationships each source states.
MATCH ()-[r:IS_A]->()
RETURN r.source AS source, count(*) AS edges
