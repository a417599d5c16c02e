// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many EXPRESSED_IN relationships each source states.
MATCH ()-[r:EXPRESSED_IN]->()
RETURN r.source AS source, count(*) AS edges
