// What a run found, in batches.
MATCH ()-[f:SIGNAL_FOUND {run: $id}]->()
CALL (f) { DELETE f } IN TRANSACTIONS OF 10000 ROWS
RETURN count(*) AS findings
