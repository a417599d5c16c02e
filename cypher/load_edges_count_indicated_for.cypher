// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many INDICATED_FOR relationships each source states.
MATCH ()-[r:INDICATED_FOR]->()
RETURN r.source AS source, count(*) AS edges
