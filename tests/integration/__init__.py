"""Tests with a real RabbitMQ, real twistd processes and real curl."""
