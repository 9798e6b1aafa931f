"""The public interface for notebooks and scripts. `datapack` has all of it under its own name: import that."""
