// Generated from schema/*.yaml by scripts/generate_schema_cypher.py; do not edit.
// Create or update PART_OF relationships: rows of [subject, object, edge_key, properties].
UNWIND $rows AS row
MATCH (s:Entity {id: row[0]})
MATCH (o:Entity {id: row[1]})
MERGE (s)-[r:PART_OF {edge_key: row[2]}]->(o)
SET r += row[3]
