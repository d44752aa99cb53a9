"""The prepared form: writing it from a release, whole or in parts, and reading it back."""
