// How many relationships of any type there are.
MATCH ()-[r]->()
RETURN count(r) AS n
