// Every node that is no entity with an id: bookkeeping, tombstones, and what somebody made by hand.
MATCH (n)
WHERE NOT n:Entity OR n.id IS NULL
RETURN elementId(n) AS element, labels(n) AS labels, properties(n) AS properties
