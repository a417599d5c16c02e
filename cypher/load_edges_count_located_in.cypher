// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many LOCATED_IN relationships each source states.
MATCH ()-[r:LOCATED_IN]->()
RETURN r.source AS source, count(*) AS edges
