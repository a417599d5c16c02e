// As select_pick, where the server knows before it runs that one column holds relationships and all others nodes: then
// ids are collected as they come, in two thirds of the time.
CALL () {
{{query}}
}
WITH type({{relationship}}) AS verb, count(*) AS items, {{lists}}
UNWIND [{{found}}] AS found // and no name of the user's from here on
WITH items, coalesce(found[0], '(value)') AS kind, found[1] AS every
UNWIND range(0, size(every), $tosg_chunk) AS at
RETURN size(every) > 0 AS element, kind, every[at..at + $tosg_chunk] AS ids, items
