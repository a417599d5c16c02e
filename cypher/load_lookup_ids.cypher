// Which of $ids are entities with the label $label.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
WHERE $label IN labels(n)
RETURN collect(n.id) AS ids
