"""The OpenAPI document of the routes, made from what their owners say of them, and the page that shows it."""
