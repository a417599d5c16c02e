// topic: sources
// title: Who states what about an entity, and under which licence?
// description: Relationships of the entity by verb and source, with version, licence, number and first examples.
// param: entity string — id or gene symbol (STAT1, HGNC:11362, MONDO:0005070)
// example: entity="STAT1"
CALL () {
  MATCH (n:Entity {id: $entity})
  RETURN n
  UNION
  MATCH (n:Gene)
  WHERE n.symbol IN [$entity, toUpper($entity)]
  RETURN n
}
MATCH (n)-[r:!SIGNAL_FOUND]-(other:Entity)
WHERE $sources IS NULL OR r.source IN $sources
WITH n, r, other ORDER BY other.name, other.id
WITH n, type(r) AS verb, r.source AS key, count(r) AS relationships, collect(DISTINCT other.name)[..5] AS examples
OPTIONAL MATCH (s:Source {key: key})
RETURN n.id AS entity, verb, key AS source, relationships, s.title AS title, s.version AS version,
       s.licence AS licence, examples
ORDER BY entity, verb, source
