// As select_pick, with lists, maps and paths opened, four levels of them. What is still nested then is counted.
CALL () {
{{query}}
}
WITH {v: [{{columns}}]}['v'] AS items // and no name of the user's from here on
UNWIND items AS x0
UNWIND CASE WHEN x0 IS :: LIST<ANY> THEN x0 WHEN x0 IS :: PATH THEN nodes(x0) + relationships(x0) WHEN x0 IS :: MAP THEN [k IN keys(x0) | x0[k]] ELSE [x0] END AS x1
UNWIND CASE WHEN x1 IS :: LIST<ANY> THEN x1 WHEN x1 IS :: PATH THEN nodes(x1) + relationships(x1) WHEN x1 IS :: MAP THEN [k IN keys(x1) | x1[k]] ELSE [x1] END AS x2
UNWIND CASE WHEN x2 IS :: LIST<ANY> THEN x2 WHEN x2 IS :: PATH THEN nodes(x2) + relationships(x2) WHEN x2 IS :: MAP THEN [k IN keys(x2) | x2[k]] ELSE [x2] END AS x3
UNWIND CASE WHEN x3 IS :: LIST<ANY> THEN x3 WHEN x3 IS :: PATH THEN nodes(x3) + relationships(x3) WHEN x3 IS :: MAP THEN [k IN keys(x3) | x3[k]] ELSE [x3] END AS x
WITH x, CASE
  WHEN x IS :: RELATIONSHIP NOT NULL THEN type(x)
  WHEN x IS :: NODE NOT NULL THEN '(node)'
  WHEN x IS NULL THEN '(value)'
  WHEN x IS :: LIST<ANY> OR x IS :: PATH OR x IS :: MAP THEN '(nested)'
  ELSE '(value)' END AS kind
WITH kind, CASE kind WHEN '(value)' THEN null WHEN '(nested)' THEN null ELSE id(x) END AS i
// Distinct ids per kind, cut into lists of $tosg_chunk: what is held is one set of numbers, whatever the number of rows.
WITH kind, collect(DISTINCT i) AS every, count(*) AS items
UNWIND range(0, size(every), $tosg_chunk) AS at
RETURN size(every) > 0 AS element, kind, every[at..at + $tosg_chunk] AS ids, items
