// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Stored properties of the TRANSLATED_TO relationships in $keys, one list per relationship.
UNWIND $keys AS key
MATCH (s)-[r:TRANSLATED_TO {edge_key: key}]->(o)
RETURN collect([key, s.id, o.id, r.source, r.score, r.sign, r.publications, r.relation, r.negated, r.licence]) AS rows
