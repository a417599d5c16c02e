// As select_pick, for a canned question, which names entities by their ids: each text that is the id of an entity, in
// lists too, stands for the entity.
CALL () {
{{query}}
}
UNWIND {v: [{{columns}}]}['v'] AS x0
WITH DISTINCT x0
UNWIND CASE WHEN x0 IS :: LIST<ANY> THEN x0 ELSE [x0] END AS x
WITH DISTINCT x WHERE x IS :: STRING NOT NULL
OPTIONAL MATCH (n:Entity {id: x})
WITH n IS NOT NULL AS element, CASE WHEN n IS NULL THEN '(value)' ELSE '(node)' END AS kind, id(n) AS i
RETURN element, kind, i / $tosg_chunk AS chunk, collect(i) AS ids, count(*) AS items
