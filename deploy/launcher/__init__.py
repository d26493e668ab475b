"""The program behind `bin/run`: everything of Procfile on one machine, with a Redis of its own."""
