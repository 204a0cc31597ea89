"""What a user can set: the typed schema, its validation, and the errors; it imports no other part."""
