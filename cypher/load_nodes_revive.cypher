// Remove the tombstones of nodes that are stated again.
UNWIND $ids AS id
MATCH (n:Retired {id: id})
DELETE n
