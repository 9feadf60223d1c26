"""Names that entities lack in a language, proposed by sources that vote; and names they have that are probably wrong."""
