"""Tests of the deployment: image, templates, manifests, dashboard."""
