"""Sources of images: folders, lists, and the photographs of the quickstart."""
