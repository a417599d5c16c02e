// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many ENABLES relationships each source states.
MATCH ()-[r:ENABLES]->()
RETURN r.source AS source, count(*) AS edges
