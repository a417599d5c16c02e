// $source states the nodes in $ids no more.
UNWIND $ids AS id
MATCH (n:Entity {id: id})
SET n.sources = [source IN n.sources WHERE source <> $source]
