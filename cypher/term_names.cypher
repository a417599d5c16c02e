// Every term of one kind with its names; $label comes from schema/cells.yaml.
MATCH (t:$($label))
RETURN t.id AS id, t.name AS name, t.synonyms AS synonyms, t.xrefs AS xrefs
ORDER BY t.id
