// Entities and the ids that BioMedGraphica gives them.
MATCH (n:Entity)
WHERE n.bmg_ids IS NOT NULL
RETURN n.id AS id, n.bmg_ids AS bmg_ids
