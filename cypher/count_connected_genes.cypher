// How many genes there are, and how many of them have any relationship but findings of runs.
MATCH (g:Gene)
RETURN count(g) AS genes, sum(CASE WHEN EXISTS { (g)-[:!SIGNAL_FOUND]-() } THEN 1 ELSE 0 END) AS connected
