"""More than one core: processes that share the listening port, and the one that supervises them."""
