// Every source, with the knowledge level of the one that carries it where it has none itself.
MATCH (s:Source)
OPTIONAL MATCH (c:Source {key: s.carried_by})
RETURN s.key AS key, coalesce(s.knowledge_level, c.knowledge_level, 'not_provided') AS level
