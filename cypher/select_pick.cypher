// Every node and relationship in the rows of a user's query as flat lists of internal ids; lists, maps and
// paths are only counted, and select_pick_nested opens them.
// The placeholders stand for the user's own text, checked by read_guard, and its column names, back-quoted.
CALL () {
{{query}}
}
// A look-up in a map with a key hides the static types, which the planner would otherwise refuse to mix.
WITH {v: [{{columns}}]}['v'] AS items // and no name of the user's from here on
UNWIND items AS x
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
