// topic: findings
// title: Which signaling runs found an entity, or an edge at it?
// description: Findings of all runs that `tosg signal --write` wrote about the entity and the edges that lead from or to it.
// param: entity string — id or gene symbol (STAT1, HGNC:11362)
// example: entity="STAT1"
CALL () {
  MATCH (n:Entity {id: $entity})
  RETURN n
  UNION
  MATCH (n:Gene)
  WHERE n.symbol IN [$entity, toUpper($entity)]
  RETURN n
}
MATCH (n)-[f:SIGNAL_FOUND]-(:Entity)
WHERE $sources IS NULL OR any(s IN coalesce(f.sources, n.sources) WHERE s IN $sources)
WITH DISTINCT f, startNode(f) AS a, endNode(f) AS b
MATCH (r:Run {id: f.run})
WHERE r.complete
RETURN r.id AS run, r.by AS by, r.case AS case, r.control AS control, r.where AS where, f.kind AS kind, a.id AS source,
       a.name AS source_name, f.verb AS verb, b.id AS target, b.name AS target_name, f.difference AS difference, f.q AS q
ORDER BY run, kind, q, source, target, verb
