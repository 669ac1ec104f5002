"""Which descriptor a worker inherits for what. 0 is empty, 1 and 2 are its log and its last words."""

#: Pipes: the worker writes answers, and reads questions; the end of the questions is the end of the supervisor.
ANSWERS, QUESTIONS = 3, 4
#: The socket of the HTTPS listener, and the memory in which workers see each other's counts of connections.
LISTENER, COUNTS = 5, 6
