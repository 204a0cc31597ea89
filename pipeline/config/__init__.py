"""What a user can set: the typed schema, its validation, and the errors; a leaf that every other part may use."""
