// Drugs that target, and diseases associated with, some genes and proteins, or what they encode or are encoded by:
// of each node and verb how many are known, and the $most that most sources state.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
CALL (n) {
  RETURN n AS place
  UNION
  MATCH (n)-[e:ENCODES]-(place) WHERE NOT coalesce(e.negated, false)
  RETURN place
}
CALL (place) {
  MATCH (place)<-[r:TARGETS]-(x:Drug) WHERE NOT coalesce(r.negated, false)
  RETURN 'TARGETS' AS verb, x, r.source AS source, r.action AS how
  UNION
  MATCH (place)-[r:ASSOCIATED_WITH]-(x:Disease) WHERE NOT coalesce(r.negated, false)
  RETURN 'ASSOCIATED_WITH' AS verb, x, r.source AS source, r.relation AS how
}
WITH id, verb, x, collect(DISTINCT source) AS sources, collect(DISTINCT how) AS how
ORDER BY id, verb, size(sources) DESC, x.id
WITH id, verb, collect({id: x.id, name: x.name, how: how, sources: sources}) AS every
RETURN id, verb, size(every) AS known, every[..$most] AS kept
ORDER BY id, verb
