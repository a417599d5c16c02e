// As select_pick, with lists, maps and paths opened, four levels of them. What is still nested then is counted.
CALL () {
{{query}}
}
UNWIND {v: [{{columns}}]}['v'] AS x0
WITH DISTINCT x0
UNWIND CASE WHEN x0 IS :: LIST<ANY> THEN x0 WHEN x0 IS :: PATH THEN nodes(x0) + relationships(x0) WHEN x0 IS :: MAP THEN [k IN keys(x0) | x0[k]] ELSE [x0] END AS x1
UNWIND CASE WHEN x1 IS :: LIST<ANY> THEN x1 WHEN x1 IS :: PATH THEN nodes(x1) + relationships(x1) WHEN x1 IS :: MAP THEN [k IN keys(x1) | x1[k]] ELSE [x1] END AS x2
UNWIND CASE WHEN x2 IS :: LIST<ANY> THEN x2 WHEN x2 IS :: PATH THEN nodes(x2) + relationships(x2) WHEN x2 IS :: MAP THEN [k IN keys(x2) | x2[k]] ELSE [x2] END AS x3
UNWIND CASE WHEN x3 IS :: LIST<ANY> THEN x3 WHEN x3 IS :: PATH THEN nodes(x3) + relationships(x3) WHEN x3 IS :: MAP THEN [k IN keys(x3) | x3[k]] ELSE [x3] END AS x4
WITH DISTINCT x4 AS x
WITH x, CASE
  WHEN x IS :: RELATIONSHIP NOT NULL THEN type(x)
  WHEN x IS :: NODE NOT NULL THEN '(node)'
  WHEN x IS :: LIST<ANY> OR x IS :: PATH OR x IS :: MAP THEN '(nested)'
  ELSE '(value)' END AS kind,
  CASE WHEN x IS :: RELATIONSHIP NOT NULL OR x IS :: NODE NOT NULL THEN id(x) END AS i
RETURN i IS NOT NULL AS element, kind, i / $tosg_chunk AS chunk, collect(i) AS ids, count(*) AS items
