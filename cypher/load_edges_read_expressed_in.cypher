// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Stored properties of the EXPRESSED_IN relationships in $keys, one list per relationship.
UNWIND $keys AS key
MATCH (s)-[r:EXPRESSED_IN {edge_key: key}]->(o)
RETURN collect([key, s.id, o.id, r.source, r.score, r.sign, r.publications, r.relation, r.negated, r.licence, r.mean, r.fraction, r.cells, r.store_version]) AS rows
