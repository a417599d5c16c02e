// How many entities carry each label, Entity included.
MATCH (n:Entity)
UNWIND labels(n) AS label
RETURN label, count(*) AS nodes
