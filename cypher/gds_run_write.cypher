MERGE (r:Run {id: $run.id})
SET r = $run
