// topic: functions and terms
// title: Which genes belong to a protein family or complex?
// description: Genes and proteins of the family, of families within it and of its parts.
// param: family string — name of the family in any case, or its id
// param: limit int = 500 — most rows
// example: family="JAK"
MATCH (top:ProteinFamily)
WHERE (toLower(top.name) = toLower($family) OR top.id = $family)
MATCH (inside:ProteinFamily)-[isa:IS_A|PART_OF*0..10]->(top)
WHERE all(x IN isa WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
WITH DISTINCT inside
MATCH (member:Gene|Protein)-[r:IS_A|PART_OF]->(inside)
WHERE all(x IN [r] WHERE ($sources IS NULL OR x.source IN $sources) AND NOT coalesce(x.negated, false))
RETURN DISTINCT member.id AS member, coalesce(member.symbol, member.name) AS symbol, type(r) AS verb,
       inside.id AS family, inside.name AS family_name, r.source AS source
ORDER BY family_name, family, symbol, member, verb, source
LIMIT $limit
