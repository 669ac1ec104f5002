"""Traces by OpenTelemetry: the spans of a request on its way, and their export by OTLP."""
