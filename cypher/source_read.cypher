// What a source is, or who carries it.
MATCH (s:Source {key: $key})
RETURN s.title AS title, s.carried_by AS carrier
