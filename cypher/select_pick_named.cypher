// As select_pick, for a canned question, which names entities by their ids: each text that is the id of an entity, in
// lists too, stands for the entity.
CALL () {
{{query}}
}
WITH {v: [{{columns}}]}['v'] AS items // and no name of the user's from here on
UNWIND items AS x0
UNWIND CASE WHEN x0 IS :: LIST<ANY> THEN x0 ELSE [x0] END AS x
WITH DISTINCT x WHERE x IS :: STRING NOT NULL
OPTIONAL MATCH (n:Entity {id: x})
WITH CASE WHEN n IS NULL THEN '(value)' ELSE '(node)' END AS kind, id(n) AS i
// Distinct ids per kind, cut into lists of $tosg_chunk: what is held is one set of numbers, whatever the number of rows.
WITH kind, collect(DISTINCT i) AS every, count(*) AS items
UNWIND range(0, size(every), $tosg_chunk) AS at
RETURN size(every) > 0 AS element, kind, every[at..at + $tosg_chunk] AS ids, items
