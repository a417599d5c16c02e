// Forget a run: its values first, so that what is listed is there.
MATCH (n:Entity)
WHERE n[$property] IS NOT NULL
CALL (n) { REMOVE n[$property] } IN TRANSACTIONS OF 10000 ROWS
RETURN count(n) AS nodes
