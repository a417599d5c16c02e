// A run that is not complete yet; its number says when it came among runs of this kind, $made_for with which comparison.
OPTIONAL MATCH (other:Run) WHERE other.number IS NOT NULL
WITH coalesce(max(other.number), 0) + 1 AS next
MERGE (r:Run {id: $id})
ON CREATE SET r.number = next, r.made_for = $made_for
SET r.kind = $kind, r.complete = false
