// Findings about edges: each beside the relationships that it is about.
UNWIND $rows AS row
MATCH (s:Entity {id: row.source})
MATCH (t:Entity {id: row.target})
MERGE (s)-[f:SIGNAL_FOUND {run: $run, kind: 'edge', verb: row.verb, sign: row.sign}]->(t)
SET f += row.values
