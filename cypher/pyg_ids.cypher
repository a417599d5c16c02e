// Ids of the entities whose type is $label: they have it, and none of the labels that come before it in the schema.
MATCH (n:Entity) WHERE $label IN labels(n) AND none(other IN $before WHERE other IN labels(n))
WITH n.id AS id ORDER BY id
RETURN collect(id) AS ids
