"""Tests of what is deployed: image, templates, dashboards."""
