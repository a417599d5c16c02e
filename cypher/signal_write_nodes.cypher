// Findings about nodes and pathways: a relationship from the node to itself, so that no way leads through a finding.
UNWIND $rows AS row
MATCH (n:Entity {id: row.id})
MERGE (n)-[f:SIGNAL_FOUND {run: $run, kind: row.kind}]->(n)
SET f += row.values
