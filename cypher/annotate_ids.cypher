// Entities that were not annotated with today's graph and rules.
MATCH (n:Entity)
WHERE n.annotated IS NULL OR n.annotated <> $stamp
RETURN collect(n.id) AS ids
