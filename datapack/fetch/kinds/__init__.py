"""One module for each kind of source: it fetches the files of such a source into the payload."""
