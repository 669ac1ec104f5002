"""The workbench: the HTTP interface of parking queues, and the page that shows what runs and what failed."""
