// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many TARGETS relationships each source states.
MATCH ()-[r:TARGETS]->()
RETURN r.source AS source, count(*) AS edges
