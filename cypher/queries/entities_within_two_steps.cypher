// topic: sources
// title: How much lies within two steps of an entity?
// description: Other entities that one or two relationships of any kind lead to, in either direction.
// param: entity string — id of the entity (HGNC:11362, UniProtKB:P42224, MONDO:0005070)
// example: entity="HGNC:11362"
MATCH (n:Entity {id: $entity})-[steps*1..2]-(m:Entity)
WHERE m <> n AND ($sources IS NULL OR all(r IN steps WHERE r.source IN $sources))
RETURN n.id AS entity, count(DISTINCT m) AS entities
ORDER BY entity
