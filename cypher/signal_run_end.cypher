// All is written: what the run is.
MATCH (r:Run {id: $run.id})
SET r += $run, r.complete = true
