"""Tests of ``provider_gateway.workbench``."""
