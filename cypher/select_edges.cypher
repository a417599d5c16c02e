// Properties of picked relationships of one verb as flat lists. Properties with few different values ($grouped)
// are grouping keys and cross the wire once per group. {{lists}} stands for collect(p[$listed[0]]) AS v0 and so on, as many
// as are asked for: each costs time, also where it stays empty. collect() skips nulls: a list that is shorter than
// `starts`, yet not empty, has gaps, and its chunk is read again by select_edges_with_gaps.
UNWIND $ids AS i
MATCH (a)-[r]->(b) WHERE id(r) = i
WITH id(a) AS s, id(b) AS t, properties(r) AS p, CASE WHEN $with_ids THEN i END AS i
RETURN [k IN $grouped | p[k]] AS constant, collect(s) AS starts, collect(t) AS ends, collect(i) AS ids, {{lists}}
