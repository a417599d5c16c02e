// Every node and relationship in the rows of a user's query as flat lists of internal ids; lists, maps and
// paths are only counted, and select_pick_nested opens them.
// The placeholders stand for the user's own text, checked by read_guard, and its column names, back-quoted.
CALL () {
{{query}}
}
// A look-up in a map with a key hides the static types, which the planner would otherwise refuse to mix.
UNWIND {v: [{{columns}}]}['v'] AS item
WITH DISTINCT item AS x
WITH x, CASE
  WHEN x IS :: RELATIONSHIP NOT NULL THEN type(x)
  WHEN x IS :: NODE NOT NULL THEN '(node)'
  WHEN x IS :: LIST<ANY> OR x IS :: PATH OR x IS :: MAP THEN '(nested)'
  ELSE '(value)' END AS kind,
  CASE WHEN x IS :: RELATIONSHIP NOT NULL OR x IS :: NODE NOT NULL THEN id(x) END AS i
RETURN i IS NOT NULL AS element, kind, i / $tosg_chunk AS chunk, collect(i) AS ids, count(*) AS items
