// Runs of signaling inference, and how many of their findings are there.
MATCH (r:Run)
WHERE r.kind IN ['signal', 'comparison']
CALL (r) {
  OPTIONAL MATCH ()-[f:SIGNAL_FOUND {run: r.id}]->()
  RETURN count(f) AS there
}
RETURN r {.*} AS run, there, COLLECT { MATCH (c:Run)-[:GROUP]->(r) RETURN c.id ORDER BY c.id } AS comparisons,
  COLLECT { MATCH (r)-[:GROUP]->(group:Run) WHERE group.made_for = r.id RETURN group.id ORDER BY group.id } AS own
ORDER BY r.number, r.id
