"""The descriptors that a worker inherits. 0 is empty; 1 is its log, and 2 says why it ends."""

#: Pipes: the worker writes answers and reads questions. When the questions end, the supervisor has ended.
ANSWERS, QUESTIONS = 3, 4
#: The socket of the HTTPS listener, and the shared memory of :mod:`provider_gateway.workers.connection_counts`.
LISTENER, COUNTS = 5, 6
