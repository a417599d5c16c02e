// Whether there is any entity; stops at the first.
RETURN EXISTS { (:Entity) } AS loaded
