// The largest groups, each with the first of its members.
MATCH (n:Entity)
WHERE n[$property] IS NOT NULL
WITH n ORDER BY n.id
WITH n[$property] AS group, count(*) AS nodes, collect(n.name)[..5] AS members
RETURN group, nodes, members
ORDER BY nodes DESC, group
LIMIT $limit
