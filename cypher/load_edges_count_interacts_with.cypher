// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many INTERACTS_WITH relationships each source states.
MATCH ()-[r:INTERACTS_WITH]->()
RETURN r.source AS source, count(*) AS edges
