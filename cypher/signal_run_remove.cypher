// Forget a run, after its findings.
MATCH (r:Run {id: $id})
DETACH DELETE r
