MATCH (n:Entity)
WHERE n.id IN $ids
RETURN n.text_sha AS text_sha, n.text AS text
