// End what still works on a projection whose owner was interrupted.
SHOW TRANSACTIONS YIELD transactionId AS id, parameters
WHERE parameters.graph_name = $name
TERMINATE TRANSACTIONS id YIELD message
RETURN id, message
