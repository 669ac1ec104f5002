"""Tools of development: test runner, private RabbitMQ nodes, processes of benchmarks. Not installed."""
