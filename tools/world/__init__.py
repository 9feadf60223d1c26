"""The sample graph: its facts, written as tables, and the modules that turn them into Turtle."""
