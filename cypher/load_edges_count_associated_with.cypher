// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// How many ASSOCIATED_WITH relationships each source states.
MATCH ()-[r:ASSOCIATED_WITH]->()
RETURN r.source AS source, count(*) AS edges
