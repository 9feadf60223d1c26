"""REST over one engine: `app.create_app` makes the application, `settings` says how it behaves."""
