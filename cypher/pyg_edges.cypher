// Relationships of $verb from $ids to entities of the type $label, as flat lists.
UNWIND $ids AS id
MATCH (s:Entity {id: id})-[r]->(o:Entity)
WHERE type(r) = $verb AND $label IN labels(o) AND none(other IN $before WHERE other IN labels(o))
RETURN collect(s.id) AS sources, collect(o.id) AS targets, collect(r.edge_key) AS keys
